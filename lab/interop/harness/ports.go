package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"syscall"
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

func init() {
	portCursor.Store(rand.Uint32N(portCount))
	// The first process handle makes Go try once how the kernel clones processes, without the lock that bindable holds: now, not later.
	os.FindProcess(os.Getpid())
}

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

// bindable tries the port. While it does, no process may be started: until it executes its program, a child holds copies of all sockets
// of this process, and the port would stay taken for as long after the trial is over.
func bindable(port string) bool {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
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
