// Package faults exposes the server to faulty networks and disks, hostile clients and operating errors.
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

const updateTimeout = 10 * time.Second

// slowestKeyAnswer requests the server's key repeatedly until stop is called, which returns the longest response time.
func slowestKeyAnswer(t *testing.T, s *harness.Server) (stop func() time.Duration) {
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

// checkJoin checks that a new node can register and receive its map.
func checkJoin(t *testing.T, s *harness.Server, authKey string) {
	t.Helper()
	n := s.NewNode(t, "alive")
	n.Join(authKey)
}

func dial(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, time.Second) }
