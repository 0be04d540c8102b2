package relay

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

var upgrade = map[string]string{"Upgrade": "DERP", "Connection": "Upgrade"}

func TestRelayDeliversPackets(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	a, b := s.Relay(t, key.NewNode()), s.Relay(t, key.NewNode())
	if err := a.Reaches(b, "there"); err != nil {
		t.Error(err)
	}
	if err := b.Reaches(a, "and back"); err != nil {
		t.Error(err)
	}
	if a.ServerPublicKey() != b.ServerPublicKey() || a.ServerPublicKey().IsZero() {
		t.Errorf("server keys %v %v", a.ServerPublicKey(), b.ServerPublicKey())
	}
	ping := [8]byte{1, 2, 3, 4, 5, 6, 7, 8}
	if err := a.SendPing(ping); err != nil {
		t.Fatal(err)
	}
	if m, err := a.Next(5 * time.Second); err != nil || m != derp.PongMessage(ping) {
		t.Errorf("ping answered with %v %v", m, err)
	}
	if err := a.NotePreferred(true); err != nil {
		t.Error(err)
	}

	t.Run("unknown-frame", func(t *testing.T) {
		if err := a.Frame(0x77, 10, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		if err := a.Reaches(b, "after an unknown frame"); err != nil {
			t.Error(err)
		}
	})
	t.Run("to-itself", func(t *testing.T) {
		if err := a.Reaches(a, "echo"); err != nil {
			t.Error(err)
		}
	})
}

func TestPacketsArriveInOrder(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	a, b := s.Relay(t, key.NewNode()), s.Relay(t, key.NewNode())
	packet := func(i int) []byte {
		p := bytes.Repeat([]byte{byte(i)}, 1+i*13)
		if i == 99 {
			p = bytes.Repeat([]byte{99}, derp.MaxPacketSize)
		}
		return p
	}
	sent := make(chan error, 1)
	go func() {
		for i := range 100 {
			if err := a.Send(b.Key.Public(), packet(i)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for i := range 100 {
		p, err := b.NextPacket(5 * time.Second)
		if err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
		if !bytes.Equal(p.Data, packet(i)) {
			t.Fatalf("packet %d: %d bytes of %d, want %d of %d", i, len(p.Data), p.Data[0], len(packet(i)), i)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestSendersLearnThatAPeerIsGone(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	a, b := s.Relay(t, key.NewNode()), s.Relay(t, key.NewNode())
	if err := a.Reaches(b, "hello"); err != nil {
		t.Fatal(err)
	}
	a.Conn.Close()
	m, err := b.Next(5 * time.Second)
	if gone, ok := m.(derp.PeerGoneMessage); !ok || gone.Peer != a.Key.Public() || gone.Reason != derp.PeerGoneReasonDisconnected {
		t.Errorf("after a disconnect: %#v %v", m, err)
	}
	nobody := key.NewNode().Public()
	disco := append([]byte("TS\xf0\x9f\x92\xac"), make([]byte, 100)...)
	if err := b.Send(nobody, disco); err != nil {
		t.Fatal(err)
	}
	m, err = b.Next(5 * time.Second)
	if gone, ok := m.(derp.PeerGoneMessage); !ok || gone.Peer != nobody || gone.Reason != derp.PeerGoneReasonNotHere {
		t.Errorf("disco packet to an unknown peer: %#v %v", m, err)
	}
	// Other packets to unknown peers are dropped silently: the next message is the reply to a ping.
	b.Send(nobody, []byte("data"))
	ping := [8]byte{9}
	b.SendPing(ping)
	if m, err := b.Next(5 * time.Second); m != derp.PongMessage(ping) {
		t.Errorf("plain packet to an unknown peer: %#v %v", m, err)
	}
}

func TestProtocolViolationsEndTheConnection(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	cases := map[string]func(*harness.RelayConn) error{
		"packet too long": func(r *harness.RelayConn) error { return r.Frame(0x04, 32+derp.MaxPacketSize+1, make([]byte, 4096)) },
		"frame of 4 GiB":  func(r *harness.RelayConn) error { return r.Frame(0x04, 0xffffffff, make([]byte, 64)) },
		"unknown frame of 4 GiB": func(r *harness.RelayConn) error {
			return r.Frame(0x55, 0xffffffff, make([]byte, 64))
		},
		"packet too short":   func(r *harness.RelayConn) error { return r.Frame(0x04, 5, make([]byte, 5)) },
		"watch without mesh": func(r *harness.RelayConn) error { return r.Frame(0x10, 0, nil) },
		"forward without mesh": func(r *harness.RelayConn) error {
			return r.Frame(0x0a, 70, make([]byte, 70))
		},
		"close peer without mesh": func(r *harness.RelayConn) error { return r.Frame(0x11, 32, make([]byte, 32)) },
	}
	for name, violate := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := s.Relay(t, key.NewNode())
			if err := violate(r); err != nil {
				t.Fatal(err)
			}
			limit := 5 * time.Second
			if name == "unknown frame of 4 GiB" {
				limit = 10 * time.Second
				// The server need not refuse it before its bytes arrive, but must not buffer it.
				chunk := make([]byte, 1<<20)
				before := s.Memory()
				for range 64 {
					r.Conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
					if _, err := r.Conn.Write(chunk); err != nil {
						return
					}
				}
				if grew := s.Memory() - before; grew > 32<<20 {
					t.Errorf("the server grew by %d bytes", grew)
				}
				return
			}
			if err := r.Ended(limit); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBadRelayHandshakesAreRefused(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	noise := make([]byte, 400)
	rand.Read(noise)
	cases := map[string][]byte{
		"not a frame":       []byte("GET / HTTP/1.1\r\n\r\n"),
		"forged box":        append([]byte{0x02, 0, 0, 1, 0x90}, noise...),
		"endless info":      {0x02, 0xff, 0xff, 0xff, 0xff},
		"packet before it":  append([]byte{0x04, 0, 0, 0, 40}, make([]byte, 40)...),
		"info of no length": {0x02, 0, 0, 0, 0},
	}
	for name, bytes := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, _, res, err := s.RelayUpgrade(false, upgrade)
			if err != nil || res.StatusCode != 101 {
				t.Fatalf("%v %v", res, err)
			}
			defer conn.Close()
			conn.Write(bytes)
			if err := harness.EndsSoon(conn, 15*time.Second); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRelayHTTPEndpoints(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	conn, _, res, err := s.RelayUpgrade(false, upgrade)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	h := res.Header
	if res.StatusCode != 101 || !strings.EqualFold(h.Get("Upgrade"), "DERP") || !strings.EqualFold(h.Get("Connection"), "Upgrade") || h.Get("Derp-Version") != "2" {
		t.Errorf("101: %s %v", res.Status, h)
	}
	if raw, err := hex.DecodeString(h.Get("Derp-Public-Key")); err != nil || len(raw) != 32 {
		t.Errorf("public-key-header: %q is not bare hex", h.Get("Derp-Public-Key"))
	}
	request := func(method, path string, header ...string) *http.Response {
		t.Helper()
		req, _ := http.NewRequest(method, s.URL+path, nil)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	if res := request("GET", "/derp"); res.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("GET /derp without upgrade: %s", res.Status)
	}
	// The official relay ignores the method, and the Rust crate sends POST.
	if res := request("POST", "/derp", "Upgrade", "DERP", "Connection", "Upgrade"); res.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("POST /derp: %s", res.Status)
	}
	for _, path := range []string{"/derp/probe", "/derp/latency-check"} {
		for _, method := range []string{"GET", "HEAD"} {
			if res := request(method, path); res.StatusCode != 200 || res.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%s %s: %s %v", method, path, res.Status, res.Header)
			}
		}
		if res := request("POST", path); res.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %s", path, res.Status)
		}
	}
	if res := request("GET", "/generate_204", "X-Tailscale-Challenge", "ts_127.0.0.1"); res.StatusCode != 204 || res.Header.Get("X-Tailscale-Response") != "response ts_127.0.0.1" {
		t.Errorf("generate-204: %s %v", res.Status, res.Header)
	}
	if res := request("GET", "/generate_204", "X-Tailscale-Challenge", "<script>"); res.StatusCode != 204 || res.Header.Get("X-Tailscale-Response") != "" {
		t.Errorf("generate-204 with a bad challenge: %s %v", res.Status, res.Header)
	}
	if res := request("GET", "/bootstrap-dns?q=example.com"); res.StatusCode != 200 {
		t.Errorf("bootstrap-dns: %s", res.Status)
	}
}

// TestRelayOnThePlainPort configures a single published port, which must serve the relay with a pinned certificate beside plain HTTP.
func TestRelayOnThePlainPort(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Set("tls_listen_addr", nil))
	m := s.DERPMap(t)
	node := m.Regions[harness.DERPRegion].Nodes[0]
	if _, port, _ := net.SplitHostPort(s.Host()); fmt.Sprint(node.DERPPort) != port || node.CertName == "" {
		t.Fatalf("the map names port %d and certificate %q, the server is at %s", node.DERPPort, node.CertName, s.Host())
	}
	here, there := key.NewNode(), key.NewNode()
	from, to := regionClient(t, m, here), regionClient(t, m, there)
	connect(t, from)
	connect(t, to)
	if err := from.Send(there.Public(), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if p, err := recvPacket(to, 5*time.Second); err != nil || string(p.Data) != "hello" {
		t.Fatalf("received %q: %v", p.Data, err)
	}
}

func regionClient(t *testing.T, m *tailcfg.DERPMap, private key.NodePrivate) *derphttp.Client {
	t.Helper()
	c := derphttp.NewRegionClient(private, logger.Discard, netmon.NewStatic(), func() *tailcfg.DERPRegion { return m.Regions[harness.DERPRegion] })
	t.Cleanup(func() { c.Close() })
	return c
}

// connect connects and waits until the server has registered the client, because earlier packets to it are lost.
func connect(t *testing.T, c *derphttp.Client) {
	t.Helper()
	if err := c.Connect(harness.WithTimeout(t, 15*time.Second)); err != nil {
		t.Fatal(err)
	}
	if m, err := c.Recv(); err != nil {
		t.Fatal(err)
	} else if _, ok := m.(derp.ServerInfoMessage); !ok {
		t.Fatalf("first message is %T, want ServerInfo", m)
	}
}

func recvPacket(c *derphttp.Client, limit time.Duration) (derp.ReceivedPacket, error) {
	timer := time.AfterFunc(limit, func() { c.Close() })
	defer timer.Stop()
	for {
		m, err := c.Recv()
		if err != nil {
			return derp.ReceivedPacket{}, err
		}
		if p, ok := m.(derp.ReceivedPacket); ok {
			return p, nil
		}
	}
}

func TestRelayTLSWithPinnedCertificate(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	m := s.DERPMap(t)
	node := m.Regions[harness.DERPRegion].Nodes[0]
	if !strings.HasPrefix(node.CertName, "sha256-raw:") || node.InsecureForTests {
		t.Errorf("the map does not pin the certificate: %+v", node)
	}
	a := regionClient(t, m, key.NewNode())
	b := regionClient(t, m, key.NewNode())
	ctx := harness.WithTimeout(t, 15*time.Second)
	for _, c := range []*derphttp.Client{a, b} {
		connect(t, c)
	}
	state, ok := a.TLSConnectionState()
	if !ok || state.Version != tls.VersionTLS13 {
		t.Errorf("TLS state %v %v", ok, state.Version)
	}
	last := state.PeerCertificates[len(state.PeerCertificates)-1]
	if want := "derpkey" + hexOf(a.ServerPublicKey()); last.Subject.CommonName != want {
		t.Errorf("meta-cert: the chain ends with %q, want %q", last.Subject.CommonName, want)
	}
	if err := a.Send(b.SelfPublicKey(), []byte("over TLS")); err != nil {
		t.Fatal(err)
	}
	if p, err := recvPacket(b, 5*time.Second); err != nil || string(p.Data) != "over TLS" {
		t.Errorf("%q %v", p.Data, err)
	}
	go func() {
		for {
			if _, err := a.Recv(); err != nil {
				return
			}
		}
	}()
	if err := a.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}

	t.Run("wrong-pin", func(t *testing.T) {
		forged := m.Clone()
		forged.Regions[harness.DERPRegion].Nodes[0].CertName = "sha256-raw:" + strings.Repeat("00", 32)
		if err := regionClient(t, forged, key.NewNode()).Connect(ctx); err == nil {
			t.Error("a wrong pin is accepted, so the check above proves nothing")
		}
	})
	t.Run("fast-start", func(t *testing.T) {
		conn, err := s.FastStart()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		head := make([]byte, 13)
		if _, err := io.ReadFull(conn, head); err != nil || head[0] != 0x01 || string(head[5:]) != derp.Magic {
			t.Errorf("first bytes %q %v, want the ServerKey frame", head, err)
		}
	})
	t.Run("stable-over-restart", func(t *testing.T) {
		s.Kill()
		s.Restart(t)
		if err := regionClient(t, m, key.NewNode()).Connect(harness.WithTimeout(t, 15*time.Second)); err != nil {
			t.Errorf("the pin of the earlier map no longer matches: %v", err)
		}
	})
}

func hexOf(k key.NodePublic) string { return strings.TrimPrefix(k.String(), "nodekey:") }

func TestRelayKeepAlive(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	r := s.Relay(t, key.NewNode())
	begin := time.Now()
	m, err := r.Next(66 * time.Second)
	if _, ok := m.(derp.KeepAliveMessage); !ok {
		t.Fatalf("%#v %v after %v, want a keep-alive", m, err, time.Since(begin))
	}
	t.Logf("keep-alive after %v", time.Since(begin))
}

func TestMeshFramesAreRefused(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	// A client that claims a mesh key is a regular client. Only unauthorised actions end its connection.
	c, err := derphttp.NewClient(key.NewNode(), s.URL+"/derp", logger.Discard, netmon.NewStatic())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.MeshKey, _ = key.ParseDERPMesh(strings.Repeat("ab", 32))
	connect(t, c)
	r := s.Relay(t, key.NewNode())
	if err := r.Send(c.SelfPublicKey(), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if p, err := recvPacket(c, 5*time.Second); err != nil || string(p.Data) != "hello" {
		t.Errorf("%q %v", p.Data, err)
	}
	if err := c.ForwardPacket(key.NewNode().Public(), r.Key.Public(), []byte("forged source")); err == nil {
		if p, err := r.NextPacket(2 * time.Second); err == nil {
			t.Errorf("a packet with a forged source was delivered: %v", p.Source)
		}
	}
}
