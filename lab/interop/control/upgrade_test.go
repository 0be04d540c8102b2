package control

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/net/http2"
	"headsail.invalid/interop/harness"
	"tailscale.com/control/ts2021"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

func getKey(t *testing.T, s *harness.Server) (legacy, public string) {
	t.Helper()
	res, err := http.Get(s.URL + "/key?v=142")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		t.Fatalf("GET /key: %s, %s", res.Status, res.Header.Get("Content-Type"))
	}
	var fields map[string]string
	if err := json.NewDecoder(res.Body).Decode(&fields); err != nil {
		t.Fatal(err)
	}
	return fields["legacyPublicKey"], fields["publicKey"]
}

func TestServerKeySurvivesRestart(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	legacy, public := getKey(t, s)
	if legacy != "mkey:"+strings.Repeat("0", 64) {
		t.Errorf("legacyPublicKey is %q, want a zero mkey", legacy)
	}
	var parsed key.MachinePublic
	if err := parsed.UnmarshalText([]byte(public)); err != nil || parsed.IsZero() {
		t.Errorf("publicKey is %q: %v", public, err)
	}

	t.Run("no-version", func(t *testing.T) {
		res, err := http.Get(s.URL + "/key")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode/100 != 4 {
			t.Errorf("GET /key without v: %s, want a client error", res.Status)
		}
	})
	t.Run("absolute-form", func(t *testing.T) {
		// tailscale-rs sends the whole URL in the request line and a Host without a port.
		conn, err := net.Dial("tcp", s.Host())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprintf(conn, "GET %s/key?v=130 HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n", s.URL)
		answer, _ := io.ReadAll(conn)
		if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200")) || !bytes.Contains(answer, []byte(public)) {
			t.Errorf("absolute form: %.200q", answer)
		}
	})
	t.Run("stable-over-restart", func(t *testing.T) {
		s.Kill()
		s.Restart(t)
		if _, again := getKey(t, s); again != public {
			t.Errorf("the public key changed across a restart: %s, then %s", public, again)
		}
	})
}

func TestUpgradeSpeaksNoiseThenHTTP2(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	up, err := s.Upgrade(key.NewMachine())
	if err != nil {
		t.Fatal(err)
	}
	defer up.Raw.Close()
	head := make([]byte, 9)
	if _, err := io.ReadFull(up.Noise, head); err != nil {
		t.Fatal(err)
	}
	if bytes.HasPrefix(head, []byte("\xff\xff\xffTS")) {
		size := binary.BigEndian.Uint32(head[5:])
		if size > 1024 {
			t.Errorf("an early payload of %d bytes is more than tailscale-rs accepts", size)
		}
		payload := make([]byte, size)
		if _, err := io.ReadFull(up.Noise, payload); err != nil {
			t.Fatal(err)
		}
		var early tailcfg.EarlyNoise
		if err := json.Unmarshal(payload, &early); err != nil || early.NodeKeyChallenge.IsZero() {
			t.Errorf("early payload %s: %v", payload, err)
		}
		head = head[:0]
	}
	// The server must send its HTTP/2 settings first, without waiting for the client.
	io.WriteString(up.Noise, http2.ClientPreface)
	framer := http2.NewFramer(up.Noise, io.MultiReader(bytes.NewReader(head), up.Noise))
	framer.WriteSettings()
	frame, err := framer.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := frame.(*http2.SettingsFrame); !ok {
		t.Errorf("first HTTP/2 frame is %v, want settings", frame)
	}
}

func TestUpgradeOverWebSocket(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	serverKey, err := s.NoiseKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	n := s.NewNode(t, "browser")
	header, finish, err := harness.Handshake(n.Machine, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	// A browser cannot set headers, so the handshake is in the query.
	ws, _, err := websocket.Dial(ctx, s.URL+"/ts2021?X-Tailscale-Handshake="+url.QueryEscape(header), &websocket.DialOptions{
		Subprotocols: []string{"tailscale-control-protocol"},
		HTTPHeader:   http.Header{"Origin": {"https://elsewhere.example"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	noise, err := finish(ctx, websocket.NetConn(context.Background(), ws, websocket.MessageBinary))
	if err != nil {
		t.Fatal(err)
	}
	client, err := new(http2.Transport).NewClientConn(ts2021.NewConn(noise, func() {}))
	if err != nil {
		t.Fatal(err)
	}
	req := n.RegisterRequest()
	req.Auth = &tailcfg.RegisterResponseAuth{AuthKey: s.ReusableKey("alice")}
	body, _ := json.Marshal(req)
	httpReq, _ := http.NewRequestWithContext(ctx, "POST", "https://control/machine/register", bytes.NewReader(body))
	res, err := client.RoundTrip(httpReq)
	if err != nil {
		t.Fatal(err)
	}
	var answer tailcfg.RegisterResponse
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if err := harness.Refusal(&answer); err != nil {
		t.Error(err)
	}
}

func TestBadUpgradesAreRefused(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	serverKey, err := s.NoiseKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	good, _, err := harness.Handshake(key.NewMachine(), serverKey)
	if err != nil {
		t.Fatal(err)
	}
	const proto = "tailscale-control-protocol"
	cases := map[string]map[string]string{
		"no Upgrade header":    {"X-Tailscale-Handshake": good},
		"unknown protocol":     {"Connection": "upgrade", "Upgrade": "gopher", "X-Tailscale-Handshake": good},
		"no handshake":         {"Connection": "upgrade", "Upgrade": proto},
		"handshake not base64": {"Connection": "upgrade", "Upgrade": proto, "X-Tailscale-Handshake": "!!!"},
		"handshake too short":  {"Connection": "upgrade", "Upgrade": proto, "X-Tailscale-Handshake": good[:40]},
		"handshake too long":   {"Connection": "upgrade", "Upgrade": proto, "X-Tailscale-Handshake": good + good},
	}
	for name, header := range cases {
		t.Run(name, func(t *testing.T) {
			conn, _, res, err := s.PostUpgrade(header)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if name == "handshake too short" || name == "handshake too long" {
				// Only the Noise layer notices this, and 101 may already have been sent.
				if res.StatusCode == http.StatusSwitchingProtocols {
					if err := harness.EndsSoon(conn, 5*time.Second); err != nil {
						t.Error(err)
					}
					return
				}
			}
			if res.StatusCode/100 != 4 {
				t.Errorf("%s, want a client error", res.Status)
			}
		})
	}
	if err := s.WaitHealthy(time.Second); err != nil {
		t.Error(err)
	}
}

func TestHandshakeForAnotherServerKeyFails(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	header, finish, err := harness.Handshake(key.NewMachine(), key.NewMachine().Public())
	if err != nil {
		t.Fatal(err)
	}
	conn, _, res, err := s.PostUpgrade(map[string]string{
		"Connection": "upgrade", "Upgrade": "tailscale-control-protocol", "X-Tailscale-Handshake": header,
	})
	if err != nil {
		return // closed without a response, which is acceptable
	}
	defer conn.Close()
	if res.StatusCode/100 == 4 {
		return
	}
	if _, err := finish(t.Context(), conn); err == nil {
		t.Error("the handshake for another key succeeded")
	}
	if err := harness.EndsSoon(conn, 5*time.Second); err != nil {
		t.Error(err)
	}
}

func TestTamperedRecordsEndTheConnection(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	record := func(kind byte, size int) []byte {
		b := make([]byte, 3+size)
		rand.Read(b)
		b[0] = kind
		binary.BigEndian.PutUint16(b[1:], uint16(size))
		return b
	}
	cases := map[string][]byte{
		"forged record":        record(4, 100),
		"shorter than its tag": record(4, 7),
		"unknown type":         record(9, 100),
		"longer than allowed":  record(4, 60000),
		"random bytes":         bytes.Repeat([]byte{0x55}, 5000),
	}
	for name, garbage := range cases {
		t.Run(name, func(t *testing.T) {
			up, err := s.Upgrade(key.NewMachine())
			if err != nil {
				t.Fatal(err)
			}
			defer up.Raw.Close()
			up.Raw.Write(garbage)
			if err := harness.EndsSoon(up.Raw, 5*time.Second); err != nil {
				t.Error(err)
			}
		})
	}
	if err := s.WaitHealthy(time.Second); err != nil {
		t.Error(err)
	}
	n := s.NewNode(t, "after")
	n.Register(s.ReusableKey("alice"))
}

// TestTLSPort checks that the port that serves the relay over TLS also serves the control protocol and all other endpoints.
func TestTLSPort(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	config := &tls.Config{InsecureSkipVerify: true} // the Noise layer authenticates the server
	n := s.NewNode(t, "n")
	n.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return (&tls.Dialer{Config: config}).DialContext(ctx, network, s.TLSAddr)
	}
	n.Join(s.ReusableKey("alice"))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	for _, path := range []string{"/key?v=142", "/health", "/derp/probe", "/generate_204"} {
		res, err := client.Get("https://" + s.TLSAddr + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode/100 != 2 {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
}
