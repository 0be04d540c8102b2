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

// Ports for servers are below the range that Linux assigns to outgoing connections (32768 and up by default, see ip_local_port_range in
// ip(7)). A port of that range could be taken by any outgoing connection before the server listens on it, or while it restarts.
const (
	firstPort = 12000
	portCount = 32768 - firstPort
)

// portCursor starts at a random port, so that packages tested at the same time rarely try the same ports.
var portCursor atomic.Uint32

func init() {
	portCursor.Store(rand.Uint32N(portCount))
	// The first process handle makes Go probe how the kernel clones processes, without the lock that bindable holds. Do that now.
	os.FindProcess(os.Getpid())
}

// FreePort finds a port that is unused for TCP and UDP on every address. No two calls in a process return the same port.
func FreePort(t testing.TB) string {
	t.Helper()
	for range portCount {
		port := fmt.Sprint(firstPort + portCursor.Add(1)%portCount)
		if bindable(port) {
			return port
		}
	}
	t.Fatalf("no free port between %d and %d", firstPort, firstPort+portCount-1)
	return ""
}

// bindable tries to bind the port. No process may be started meanwhile: until it executes its program, a child has copies of all sockets
// of this process, so that the port would stay taken after the attempt.
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
