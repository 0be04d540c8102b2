package faults

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"headsail.invalid/interop/harness"
	"tailscale.com/types/key"
)

// TestGarbage sends garbage to every listener and inside every protocol layer.
func TestGarbage(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	noise := make([]byte, 64<<10)
	rand.Read(noise)
	for _, addr := range []string{s.Host(), s.TLSAddr} {
		for name, garbage := range map[string][]byte{
			"random":       noise,
			"zeros":        make([]byte, 64<<10),
			"HTTP/2":       []byte(http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
			"TLS hello":    {0x16, 3, 1, 0xff, 0xff, 1, 0, 0, 0},
			"huge header":  append([]byte("GET / HTTP/1.1\r\nX: "), bytes.Repeat([]byte("x"), 1<<20)...),
			"many headers": append([]byte("GET / HTTP/1.1\r\n"), bytes.Repeat([]byte("X: y\r\n"), 100_000)...),
			"bad chunk":    []byte("POST /verify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
		} {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
			conn.Write(garbage)
			conn.(*net.TCPConn).CloseWrite()
			if err := harness.EndsSoon(conn, 15*time.Second); err != nil {
				t.Errorf("%s to %s: %v", name, addr, err)
			}
			conn.Close()
		}
	}
	t.Run("inside TLS", func(t *testing.T) {
		conn, err := tls.Dial("tcp", s.TLSAddr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write(noise)
		conn.CloseWrite()
		if err := harness.EndsSoon(conn, 15*time.Second); err != nil {
			t.Error(err)
		}
	})
	t.Run("inside Noise", func(t *testing.T) {
		up, err := s.Upgrade(key.NewMachine())
		if err != nil {
			t.Fatal(err)
		}
		defer up.Raw.Close()
		up.Noise.Write(noise[:4000])
		if err := harness.EndsSoon(up.Noise, 10*time.Second); err != nil {
			t.Error(err)
		}
	})
	t.Run("inside HTTP/2", func(t *testing.T) {
		up, err := s.Upgrade(key.NewMachine())
		if err != nil {
			t.Fatal(err)
		}
		defer up.Raw.Close()
		io.WriteString(up.Noise, http2.ClientPreface)
		framer := http2.NewFramer(up.Noise, nil)
		framer.WriteSettings()
		framer.WriteRawFrame(http2.FrameHeaders, 0xff, 1, noise[:1000])
		if err := harness.EndsSoon(up.Noise, 10*time.Second); err != nil {
			t.Error(err)
		}
	})
	if err := s.WaitHealthy(time.Second); err != nil {
		t.Error(err)
	}
	checkJoin(t, s, authKey)
}

// TestHalfOpenConnectionsDisturbNobody leaves hundreds of connections idle at every stage and checks that other clients are not affected.
func TestHalfOpenConnectionsDisturbNobody(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	serverKey, err := s.NoiseKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := s.Memory()
	var conns []net.Conn
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
	})
	open := func(first string) net.Conn {
		conn, err := net.Dial("tcp", s.Host())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		io.WriteString(conn, first)
		return conn
	}
	for range 200 { // upgraded, then silent
		header, _, err := harness.Handshake(key.NewMachine(), serverKey)
		if err != nil {
			t.Fatal(err)
		}
		open(fmt.Sprintf("POST /ts2021 HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: tailscale-control-protocol\r\nX-Tailscale-Handshake: %s\r\n\r\n", header))
	}
	for range 100 { // nothing at all, or half a relay handshake
		open("")
		open("GET /derp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var drips sync.WaitGroup
	for range 100 { // headers that never end
		conn := open("GET /key?v=142 HTTP/1.1\r\n")
		drips.Go(func() {
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					if _, err := io.WriteString(conn, "X: y\r\n"); err != nil {
						return
					}
				}
			}
		})
	}
	stop := slowestKeyAnswer(t, s)
	for i := range 5 {
		n := s.NewNode(t, fmt.Sprintf("n%d", i))
		n.Join(authKey)
	}
	if worst := stop(); worst > harness.Bound(100*time.Millisecond) {
		t.Errorf("GET /key took %v meanwhile", worst)
	} else {
		t.Logf("worst GET /key %v", worst)
	}
	if grew := (s.Memory() - before) >> 20; grew > 32 {
		t.Errorf("the server grew by %d MiB", grew)
	}
	cancel()
	drips.Wait()
}

// TestUnfinishedRequestsAreCutOff checks that a connection that never finishes its request is closed within a minute.
func TestUnfinishedRequestsAreCutOff(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	for name, drip := range map[string]string{"headers that never end": "X: y\r\n", "silence": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endsDespiteDripping(t, s, "GET /key?v=142 HTTP/1.1\r\n", drip, 60*time.Second)
		})
	}
}

// endsDespiteDripping sends the beginning of a request and then sends drip repeatedly. The server must close the connection in time.
func endsDespiteDripping(t *testing.T, s *harness.Server, first, drip string, limit time.Duration) {
	t.Helper()
	conn, err := dial(s.Host())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, first)
	begin := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- harness.EndsSoon(conn, limit) }()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
			t.Logf("cut after %v", time.Since(begin))
			return
		case <-tick.C:
			io.WriteString(conn, drip)
		}
	}
}

// TestBodyDrip checks that a request whose body never ends, silent or slow, is cut off.
func TestBodyDrip(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	const head = "POST /verify HTTP/1.1\r\nHost: x\r\n"
	for name, parts := range map[string][2]string{
		"silence": {head + "Content-Length: 4000\r\n\r\n", ""},
		"bytes":   {head + "Content-Length: 4000\r\n\r\n", "x"},
		"chunks":  {head + "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endsDespiteDripping(t, s, parts[0], parts[1], 45*time.Second)
		})
	}
}

// TestHandshakeSilence checks that the server closes Noise connections without HTTP/2 and relay connections without client info.
func TestHandshakeSilence(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	t.Run("relay", func(t *testing.T) {
		t.Parallel()
		conn, _, _, err := s.RelayUpgrade(false, map[string]string{"Upgrade": "DERP", "Connection": "Upgrade"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := harness.EndsSoon(conn, 30*time.Second); err != nil {
			t.Error(err)
		}
	})
	t.Run("control after its first byte", func(t *testing.T) {
		t.Parallel()
		up, err := s.Upgrade(key.NewMachine())
		if err != nil {
			t.Fatal(err)
		}
		defer up.Raw.Close()
		io.WriteString(up.Noise, http2.ClientPreface[:1])
		if err := harness.EndsSoon(up.Noise, 45*time.Second); err != nil {
			t.Error(err)
		}
	})
	t.Run("control", func(t *testing.T) {
		t.Parallel()
		up, err := s.Upgrade(key.NewMachine())
		if err != nil {
			t.Fatal(err)
		}
		defer up.Raw.Close()
		if err := harness.EndsSoon(up.Raw, 60*time.Second); err != nil {
			t.Error(err)
		}
	})
}

// TestStreamResetFlood opens and resets thousands of streams inside Noise.
func TestStreamResetFlood(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	n := s.NewNode(t, "bystander")
	st := n.Join(authKey)
	up, err := s.Upgrade(key.NewMachine())
	if err != nil {
		t.Fatal(err)
	}
	defer up.Raw.Close()
	up.Raw.SetDeadline(time.Now().Add(60 * time.Second))
	go io.Copy(io.Discard, up.Noise)
	io.WriteString(up.Noise, http2.ClientPreface)
	framer := http2.NewFramer(up.Noise, nil)
	framer.WriteSettings()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "control"}, {":path", "/machine/map"}} {
		encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	stop := slowestKeyAnswer(t, s)
	cpu := s.CPU()
	sent := 0
	for i := range uint32(5000) {
		id := 2*i + 1
		if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true}) != nil ||
			framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break // closing such a connection is acceptable
		}
		sent++
	}
	other := s.NewNode(t, "other")
	other.Register(authKey)
	st.Wait(t, "the other node", updateTimeout, func(v *harness.View) bool { return v.Sees(other) })
	if worst := stop(); worst > harness.Bound(100*time.Millisecond) {
		t.Errorf("GET /key took %v meanwhile", worst)
	}
	if used := s.CPU() - cpu; used > harness.Bound(2*time.Second) {
		t.Errorf("%v of CPU", used)
	}
	t.Logf("%d resets sent, CPU %v", sent, s.CPU()-cpu)
}

// gate is a connection whose reads can be paused.
type gate struct {
	net.Conn
	mu     sync.Mutex
	paused chan struct{} // closed to resume; nil while running
}

func (g *gate) Read(p []byte) (int, error) {
	g.mu.Lock()
	paused := g.paused
	g.mu.Unlock()
	if paused != nil {
		<-paused
	}
	return g.Conn.Read(p)
}

func (g *gate) pause() (resume func()) {
	paused := make(chan struct{})
	g.mu.Lock()
	g.paused = paused
	g.mu.Unlock()
	return sync.OnceFunc(func() {
		g.mu.Lock()
		g.paused = nil
		g.mu.Unlock()
		close(paused)
	})
}

// TestSlowReader pauses the reader of a map stream during many changes. Other nodes must not be affected and the server must not buffer
// without bound. When the reader resumes, it must get a correct map, on the same stream or on a new one if the server closed it.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	var slowConn *gate
	slow := s.NewNode(t, "slow")
	slow.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		conn.(*net.TCPConn).SetReadBuffer(128 << 10)
		slowConn = &gate{Conn: conn}
		return slowConn, nil
	}
	slowStream := slow.Join(authKey)
	viewer, mover := s.NewNode(t, "viewer"), s.NewNode(t, "mover")
	viewerStream := viewer.Join(authKey)
	mover.Join(authKey)
	viewerStream.Wait(t, "mover", updateTimeout, func(v *harness.View) bool { return v.Sees(mover) })

	resume := slowConn.pause()
	defer resume()
	before := s.Memory()
	var worst time.Duration
	for i := range 1500 {
		// Addresses that compress badly fill the buffers of the slow connection.
		mover.Endpoints = nil
		for range 40 {
			var b [16]byte
			rand.Read(b[:])
			b[0], b[1] = 0x20, 0x01
			mover.Endpoints = append(mover.Endpoints, netip.AddrPortFrom(netip.AddrFrom16(b), uint16(i+1)))
		}
		want := mover.Endpoints[0]
		begin := time.Now()
		mover.Update()
		if i%50 == 0 {
			viewerStream.Wait(t, "the endpoint", updateTimeout, func(v *harness.View) bool {
				p, ok := v.Peer("mover")
				return ok && len(p.Endpoints) > 0 && p.Endpoints[0] == want
			})
			worst = max(worst, time.Since(begin))
		}
	}
	grew := (s.Memory() - before) >> 20
	t.Logf("others: worst %v; server grew %d MiB", worst, grew)
	if worst > harness.Bound(500*time.Millisecond) {
		t.Errorf("a change took %v to reach the others", worst)
	}
	if grew > 16 {
		t.Errorf("the server grew by %d MiB for one slow reader", grew)
	}
	resume()
	err := slowStream.Await(updateTimeout, func(v *harness.View) bool {
		p, ok := v.Peer("mover")
		return ok && len(p.Endpoints) > 0 && p.Endpoints[0] == mover.Endpoints[0]
	})
	if err != nil {
		frames := slowStream.Frames()
		ended, over := slowStream.Ended()
		t.Logf("the slow stream: %v; %d frames, the last %v ago; ended: %v %v", err, len(frames), time.Since(frames[len(frames)-1].At), over, ended)
		slow.Close() // the official client also closes a connection that stays silent
		slowStream = slow.Stream()
	}
	slowStream.SameAsFresh(t, "slow reader")
	viewerStream.SameAsFresh(t, "viewer")
}
