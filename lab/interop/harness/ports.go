package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
)

// Ports for servers come from below the range that Linux gives to outgoing connections (32768 and up by default, see ip_local_port_range
// in ip(7)): a port of that range can become the near end of anybody's connection before the server listens on it, or while it restarts.
const (
	firstPort = 12000
	portCount = 32768 - firstPort
)

// portCursor starts anywhere, so that packages tested at the same time rarely try the same ports.
var portCursor atomic.Uint32

func init() { portCursor.Store(rand.Uint32N(portCount)) }

// FreePort finds a port that nobody has for TCP or UDP, on any address. No two calls of a process return the same one.
func FreePort(t testing.TB) string {
	t.Helper()
	for range portCount {
		port := fmt.Sprint(firstPort + portCursor.Add(1)%portCount)
		if bindable(port) {
			return port
		}
	}
	t.Fatalf("no port between %d and %d is free", firstPort, firstPort+portCount-1)
	return ""
}

func bindable(port string) bool {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return false
	}
	defer l.Close()
	p, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		return false
	}
	p.Close()
	return true
}
