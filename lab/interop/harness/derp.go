package harness

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

// DERPMap returns the DERP map that the server sends to nodes. It registers a node to get it.
func (s *Server) DERPMap(t testing.TB) *tailcfg.DERPMap {
	t.Helper()
	n := s.NewNode(t, "derpmap")
	n.Register(s.ReusableKey("derpmap"))
	m := n.Fresh().DERPMap
	if m == nil || m.Regions[DERPRegion] == nil || len(m.Regions[DERPRegion].Nodes) == 0 {
		t.Fatalf("DERP map %+v", m)
	}
	return m
}

// RelayUpgrade sends GET /derp with these headers over a new connection, plain or TLS, and returns the head of the response.
func (s *Server) RelayUpgrade(secure bool, header map[string]string) (net.Conn, *bufio.Reader, *http.Response, error) {
	conn, err := s.dialRelay(secure, header)
	if err != nil {
		return nil, nil, nil, err
	}
	reader := bufio.NewReader(conn)
	res, err := http.ReadResponse(reader, nil)
	if err != nil {
		conn.Close()
		return nil, nil, nil, err
	}
	return conn, reader, res, nil
}

func (s *Server) dialRelay(secure bool, header map[string]string) (net.Conn, error) {
	addr := s.Host()
	if secure {
		addr = s.TLSAddr
	}
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if secure {
		// The certificate pin is checked by the tests that connect with the DERP map.
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	}
	fmt.Fprintf(conn, "GET /derp HTTP/1.1\r\nHost: %s\r\n", addr)
	for name, value := range header {
		fmt.Fprintf(conn, "%s: %s\r\n", name, value)
	}
	_, err = io.WriteString(conn, "\r\n")
	return conn, err
}

// FastStart opens a relay connection over TLS without waiting for an HTTP response, as clients that know the server's key do.
func (s *Server) FastStart() (net.Conn, error) {
	return s.dialRelay(true, map[string]string{"Upgrade": "DERP", "Connection": "Upgrade", derp.FastStartHeader: "1"})
}

// RelayConn is a relay connection of the official frame-level client, with access to its socket for frames that the client would not send.
type RelayConn struct {
	*derp.Client
	Key  key.NodePrivate
	Conn net.Conn
}

// Relay connects to the relay on the plain listener.
func (s *Server) Relay(t testing.TB, private key.NodePrivate) *RelayConn {
	t.Helper()
	conn, reader, res, err := s.RelayUpgrade(false, map[string]string{"Upgrade": "DERP", "Connection": "Upgrade"})
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("GET /derp: %s", res.Status)
	}
	r, err := NewRelayConn(private, conn, reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Conn.Close() })
	return r
}

// NewRelayConn performs the relay handshake over an open connection and waits for the server's reply.
func NewRelayConn(private key.NodePrivate, conn net.Conn, reader *bufio.Reader) (*RelayConn, error) {
	c, err := derp.NewClient(private, conn, bufio.NewReadWriter(reader, bufio.NewWriter(conn)), logger.Discard)
	if err != nil {
		return nil, err
	}
	r := &RelayConn{Client: c, Key: private, Conn: conn}
	m, err := r.Next(10 * time.Second)
	if err != nil {
		return nil, fmt.Errorf("no ServerInfo: %w", err)
	}
	if _, ok := m.(derp.ServerInfoMessage); !ok {
		return nil, fmt.Errorf("first message is %T, want ServerInfo", m)
	}
	return r, nil
}

// Next waits for the next message.
func (r *RelayConn) Next(limit time.Duration) (derp.ReceivedMessage, error) {
	r.Conn.SetDeadline(time.Now().Add(limit))
	return r.recv(limit)
}

// recv is [derp.Client.Recv] with a time limit, because the client sets its own read deadline of two minutes.
func (r *RelayConn) recv(limit time.Duration) (derp.ReceivedMessage, error) {
	timer := time.AfterFunc(limit, func() { r.Conn.Close() })
	defer timer.Stop()
	return r.Recv()
}

// NextPacket waits for the next packet and skips everything else.
func (r *RelayConn) NextPacket(limit time.Duration) (derp.ReceivedPacket, error) {
	deadline := time.Now().Add(limit)
	for {
		m, err := r.Next(time.Until(deadline))
		if err != nil {
			return derp.ReceivedPacket{}, err
		}
		if p, ok := m.(derp.ReceivedPacket); ok {
			return p, nil
		}
	}
}

// Frame writes one frame of any type, valid or not.
func (r *RelayConn) Frame(kind byte, claimed uint32, payload []byte) error {
	head := []byte{kind, byte(claimed >> 24), byte(claimed >> 16), byte(claimed >> 8), byte(claimed)}
	r.Conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, err := r.Conn.Write(append(head, payload...))
	return err
}

// Ended returns an error unless the server closes the connection within limit.
func (r *RelayConn) Ended(limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		if _, err := r.Next(time.Until(deadline)); err != nil {
			if time.Now().After(deadline) {
				return fmt.Errorf("still open after %v", limit)
			}
			return nil
		}
	}
}

// Reaches sends a packet and returns an error unless it arrives at the other side.
func (r *RelayConn) Reaches(other *RelayConn, text string) error {
	if err := r.Send(other.Key.Public(), []byte(text)); err != nil {
		return err
	}
	p, err := other.NextPacket(5 * time.Second)
	if err != nil {
		return fmt.Errorf("%q did not arrive: %w", text, err)
	}
	if string(p.Data) != text || p.Source != r.Key.Public() {
		return fmt.Errorf("%q arrived as %q from %v", text, p.Data, p.Source)
	}
	return nil
}

// WithTimeout returns a context for one request of a test.
func WithTimeout(t testing.TB, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}
