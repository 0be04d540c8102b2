package harness

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"tailscale.com/control/controlbase"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// Upgraded is a connection after POST /ts2021: the socket and the Noise layer on top of it, for tests that misuse one of them.
type Upgraded struct {
	Raw   net.Conn
	Noise *controlbase.Conn
}

// Handshake creates the first message of a Noise handshake with serverKey, encoded for the header.
func Handshake(machine key.MachinePrivate, serverKey key.MachinePublic) (header string, finish controlbase.HandshakeContinuation, err error) {
	first, finish, err := controlbase.ClientDeferred(machine, serverKey, uint16(tailcfg.CurrentCapabilityVersion))
	return base64.StdEncoding.EncodeToString(first), finish, err
}

// PostUpgrade sends POST /ts2021 with exactly these headers and returns the connection and the head of the response.
func (s *Server) PostUpgrade(header map[string]string) (net.Conn, *bufio.Reader, *http.Response, error) {
	conn, err := net.DialTimeout("tcp", s.Host(), 5*time.Second)
	if err != nil {
		return nil, nil, nil, err
	}
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "POST /ts2021 HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n", s.Host())
	for name, value := range header {
		fmt.Fprintf(conn, "%s: %s\r\n", name, value)
	}
	io.WriteString(conn, "\r\n")
	reader := bufio.NewReader(conn)
	res, err := http.ReadResponse(reader, nil)
	if err != nil {
		conn.Close()
		return nil, nil, nil, err
	}
	return conn, reader, res, nil
}

// Upgrade performs the whole upgrade by hand.
func (s *Server) Upgrade(machine key.MachinePrivate) (*Upgraded, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	serverKey, err := s.NoiseKey(ctx)
	if err != nil {
		return nil, err
	}
	header, finish, err := Handshake(machine, serverKey)
	if err != nil {
		return nil, err
	}
	conn, reader, res, err := s.PostUpgrade(map[string]string{
		"Upgrade": "tailscale-control-protocol", "Connection": "upgrade", "X-Tailscale-Handshake": header,
	})
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Upgrade") != "tailscale-control-protocol" {
		conn.Close()
		return nil, fmt.Errorf("upgrade: %s, Upgrade %q", res.Status, res.Header.Get("Upgrade"))
	}
	noise, err := finish(ctx, &bufferedConn{conn, reader})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &Upgraded{Raw: conn, Noise: noise}, nil
}

// bufferedConn first returns the bytes that a reader has already buffered.
type bufferedConn struct {
	net.Conn
	reader *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }

// EndsSoon returns an error unless the other side closes the connection within limit. Anything it still sends is discarded.
func EndsSoon(conn net.Conn, limit time.Duration) error {
	conn.SetReadDeadline(time.Now().Add(limit))
	_, err := io.Copy(io.Discard, conn)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		return fmt.Errorf("connection still open after %v", limit)
	}
	return nil
}
