// Package faults does to the server what networks, disks, strangers and mistakes do.
package faults

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const seen = 10 * time.Second

// quickness asks for the server's key over and over until stop is called, which returns the slowest answer.
func quickness(t *testing.T, s *harness.Server) (stop func() time.Duration) {
	t.Helper()
	quit, worst := make(chan struct{}), make(chan time.Duration)
	go func() {
		var slowest time.Duration
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				worst <- slowest
				return
			case <-tick.C:
			}
			begin := time.Now()
			res, err := http.Get(s.URL + "/key?v=142")
			if err != nil {
				t.Errorf("GET /key meanwhile: %v", err)
				continue
			}
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
			slowest = max(slowest, time.Since(begin))
		}
	}()
	return func() time.Duration {
		close(quit)
		return <-worst
	}
}

// alive wants a new node to get in and see the map.
func alive(t *testing.T, s *harness.Server, authKey string) {
	t.Helper()
	n := s.NewNode(t, "alive")
	n.Join(authKey)
}

func dial(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, time.Second) }
