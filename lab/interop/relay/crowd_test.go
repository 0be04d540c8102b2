package relay

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"headsail.invalid/interop/harness"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

func TestTwoConnectionsWithOneKey(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	shared := key.NewNode()
	sender := s.Relay(t, key.NewNode())
	first := s.Relay(t, shared)
	second := s.Relay(t, shared)
	if err := sender.Reaches(second, "to the newest"); err != nil {
		t.Error(err)
	}
	if err := first.Reaches(sender, "the first speaks"); err != nil {
		t.Error(err)
	}
	if err := sender.Reaches(first, "to the last writer"); err != nil {
		t.Error(err)
	}
	first.Conn.Close()
	// The server must first notice, so the sender repeats the packet until the other connection gets one.
	arrived := make(chan struct{})
	sending := make(chan error, 1)
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			if err := sender.Send(shared.Public(), []byte("take over")); err != nil {
				sending <- err
				return
			}
			select {
			case <-arrived:
				sending <- nil
				return
			case <-tick.C:
			}
		}
	}()
	if p, err := second.NextPacket(5 * time.Second); err != nil || string(p.Data) != "take over" {
		t.Errorf("the other connection did not take over: %q %v", p.Data, err)
	}
	close(arrived)
	if err := <-sending; err != nil {
		t.Error(err)
	}
	if err := second.Reaches(sender, "nobody was kicked"); err != nil {
		t.Error(err)
	}
}

func TestSlowRelayReaderDelaysNobody(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	slow, flooder := s.Relay(t, key.NewNode()), s.Relay(t, key.NewNode())
	a, b := s.Relay(t, key.NewNode()), s.Relay(t, key.NewNode())
	before := s.Memory()
	// Flood slow, which does not read.
	stop := make(chan struct{})
	flooded := make(chan int, 1)
	go func() {
		packet := make([]byte, 8<<10)
		for i := range 10000 {
			if flooder.Send(slow.Key.Public(), packet) != nil {
				flooded <- i
				return
			}
		}
		flooded <- 10000
	}()
	var worst atomic.Int64
	var exchanges atomic.Int64
	paired := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				paired <- nil
				return
			default:
			}
			begin := time.Now()
			if err := a.Reaches(b, "meanwhile"); err != nil {
				paired <- err
				return
			}
			worst.Store(max(worst.Load(), int64(time.Since(begin))))
			exchanges.Add(1)
		}
	}()
	var sent int
	select {
	case sent = <-flooded:
	case <-time.After(30 * time.Second):
		t.Fatal("the sender to a slow reader is blocked")
	}
	close(stop)
	if err := <-paired; err != nil {
		t.Errorf("other clients while one does not read: %v", err)
	}
	if sent < 10000 {
		t.Errorf("the sender was cut off after %d packets", sent)
	}
	if w := time.Duration(worst.Load()); w > harness.Bound(200*time.Millisecond) {
		t.Errorf("the slowest exchange of other clients took %v", w)
	}
	grew := (s.Memory() - before) >> 20
	if grew > 24 {
		t.Errorf("the server grew by %d MiB", grew)
	}
	t.Logf("%d exchanges, worst %v, grew %d MiB", exchanges.Load(), time.Duration(worst.Load()), grew)
}

// webSocketRelay connects to the relay as browsers do.
func webSocketRelay(t *testing.T, s *harness.Server) *harness.RelayConn {
	t.Helper()
	ws, _, err := websocket.Dial(harness.WithTimeout(t, 10*time.Second), s.URL+"/derp", &websocket.DialOptions{Subprotocols: []string{"derp"}})
	if err != nil {
		t.Fatal(err)
	}
	if ws.Subprotocol() != "derp" {
		t.Errorf("subprotocol %q", ws.Subprotocol())
	}
	ws.SetReadLimit(-1)
	conn := websocket.NetConn(context.Background(), ws, websocket.MessageBinary)
	t.Cleanup(func() { conn.Close() })
	r, err := harness.NewRelayConn(key.NewNode(), net.Conn(conn), bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRelayOverWebSocket(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	web, other, plain := webSocketRelay(t, s), webSocketRelay(t, s), s.Relay(t, key.NewNode())
	for _, pair := range [][2]*harness.RelayConn{{web, plain}, {plain, web}, {web, other}, {other, web}} {
		if err := pair[0].Reaches(pair[1], "hello"); err != nil {
			t.Error(err)
		}
	}
	big := string(bytes.Repeat([]byte("x"), derp.MaxPacketSize))
	for i, pair := range [][2]*harness.RelayConn{{plain, web}, {web, plain}, {web, other}} {
		if err := pair[0].Reaches(pair[1], big); err != nil {
			t.Errorf("64 KiB, pair %d: %.200v", i, err)
		}
	}
}
