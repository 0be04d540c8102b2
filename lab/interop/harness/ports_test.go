package harness

import (
	"net"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
)

// TestFreePortWhileProcessesStart checks that a port from FreePort is free even while other tests start processes.
func TestFreePortWhileProcessesStart(t *testing.T) {
	var stop atomic.Bool
	var starters sync.WaitGroup
	for range 4 {
		starters.Go(func() {
			for !stop.Load() {
				if err := exec.Command("true").Run(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 1000 {
		l, err := net.Listen("tcp", "127.0.0.1:"+FreePort(t))
		if err != nil {
			t.Error(err)
			break
		}
		l.Close()
	}
	stop.Store(true)
	starters.Wait()
}
