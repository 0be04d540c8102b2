package harness

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tailscale.com/control/ts2021"
	"tailscale.com/net/tsdial"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

var currentVersion = strconv.Itoa(int(tailcfg.CurrentCapabilityVersion))

// requestLimit bounds one request of a raw node.
const requestLimit = 20 * time.Second

// Node is a client reduced to the protocol: it has keys and host info, uses the official Noise transport, and sends exactly what a
// test asks for.
type Node struct {
	Server    *Server
	Machine   key.MachinePrivate
	Key       key.NodePrivate
	OldKey    key.NodePublic // the key before a rotation; zero if there was none
	Disco     key.DiscoPrivate
	Host      *tailcfg.Hostinfo
	Endpoints []netip.AddrPort
	Version   tailcfg.CapabilityVersion
	// Dial, if set, opens the node's connections, for tests that slow them down or cut them.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	t     testing.TB
	noise *ts2021.Client
}

// NewNode creates a node with fresh keys. It sends nothing before the first request.
func (s *Server) NewNode(t testing.TB, hostname string) *Node {
	return s.NodeOf(t, key.NewMachine(), hostname)
}

// NodeOf creates a node of a given machine: the same computer with another node key, or another profile.
func (s *Server) NodeOf(t testing.TB, machine key.MachinePrivate, hostname string) *Node {
	random := make([]byte, 32)
	rand.Read(random)
	n := &Node{
		Server:  s,
		Machine: machine,
		Key:     key.NewNode(),
		Disco:   key.NewDisco(),
		Version: tailcfg.CurrentCapabilityVersion,
		t:       t,
		Host: &tailcfg.Hostinfo{
			IPNVersion:   NewestClient + "-interop",
			BackendLogID: hex.EncodeToString(random),
			OS:           "linux",
			OSVersion:    "interop",
			Hostname:     hostname,
			GoArch:       "amd64",
			NetInfo:      &tailcfg.NetInfo{PreferredDERP: DERPRegion, WorkingUDP: "true"},
			Services:     []tailcfg.Service{{Proto: tailcfg.PeerAPI4, Port: 4242}, {Proto: tailcfg.PeerAPI6, Port: 4242}},
		},
	}
	t.Cleanup(n.Close)
	return n
}

// Close closes the node's connections, as a crash would.
func (n *Node) Close() {
	if n.noise != nil {
		n.noise.Close()
		n.noise = nil
	}
}

// Noise returns the official client of the Noise transport, which is created on first use.
func (n *Node) Noise(ctx context.Context) (*ts2021.Client, error) {
	if n.noise != nil {
		return n.noise, nil
	}
	serverKey, err := n.Server.NoiseKey(ctx)
	if err != nil {
		return nil, err
	}
	dial := n.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	c, err := ts2021.NewClient(ts2021.ClientOpts{
		ServerURL:       n.Server.URL,
		PrivKey:         n.Machine,
		ServerPubKey:    serverKey,
		Dialer:          tsdial.NewFromFuncForDebug(logger.Discard, dial),
		Logf:            logger.Discard,
		ProtocolVersion: uint16(n.Version),
	})
	if err != nil {
		return nil, err
	}
	n.noise = c
	return c, nil
}

// Do sends one request inside Noise. A []byte body is sent as it is, anything else as JSON.
func (n *Node) Do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	c, err := n.Noise(ctx)
	if err != nil {
		return nil, err
	}
	data, raw := body.([]byte)
	if !raw && body != nil {
		if data, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	// The host has no meaning inside Noise.
	req, err := http.NewRequestWithContext(ctx, method, "https://control"+path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return c.Do(req)
}

// Call sends one request and reads the whole response.
func (n *Node) Call(method, path string, body any) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
	defer cancel()
	res, err := n.Do(ctx, method, path, body)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(res.Body)
	return res.StatusCode, answer, err
}

// RegisterRequest is the request that the node would send to register without credentials.
func (n *Node) RegisterRequest() *tailcfg.RegisterRequest {
	return &tailcfg.RegisterRequest{
		Version:    n.Version,
		NodeKey:    n.Key.Public(),
		OldNodeKey: n.OldKey,
		NLKey:      key.NLPublic{},
		Hostinfo:   n.Host.Clone(),
	}
}

// Send sends a register request. A status other than 200 is an error, but a refusal inside the response is not.
func (n *Node) Send(ctx context.Context, req *tailcfg.RegisterRequest) (*tailcfg.RegisterResponse, error) {
	res, err := n.Do(ctx, "POST", "/machine/register", req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, &APIError{Status: res.StatusCode, Body: string(data)}
	}
	var out tailcfg.RegisterResponse
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("register response: %w in %s", err, data)
	}
	return &out, nil
}

// TryRegister registers with a pre-auth key and returns an error for every kind of refusal.
func (n *Node) TryRegister(authKey string) (*tailcfg.RegisterResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
	defer cancel()
	req := n.RegisterRequest()
	if authKey != "" {
		req.Auth = &tailcfg.RegisterResponseAuth{AuthKey: authKey}
	}
	res, err := n.Send(ctx, req)
	if err != nil {
		return nil, err
	}
	return res, Refusal(res)
}

// Refusal returns nil if a register response means that the node is registered, or else an error that explains the refusal.
func Refusal(res *tailcfg.RegisterResponse) error {
	switch {
	case res.Error != "":
		return fmt.Errorf("register: %s", res.Error)
	case res.NodeKeyExpired:
		return fmt.Errorf("register: node key expired")
	case res.AuthURL != "":
		return fmt.Errorf("register: must visit %s", res.AuthURL)
	case !res.MachineAuthorized:
		return fmt.Errorf("register: machine not authorized")
	}
	return nil
}

// Register registers with a pre-auth key, which must succeed.
func (n *Node) Register(authKey string) *tailcfg.RegisterResponse {
	n.t.Helper()
	res, err := n.TryRegister(authKey)
	if err != nil {
		n.t.Fatalf("%s: %v", n.Host.Hostname, err)
	}
	return res
}

// Rotate gives the node a new key and remembers the old one, as a client does before it logs in again.
func (n *Node) Rotate() {
	n.OldKey = n.Key.Public()
	n.Key = key.NewNode()
}

// Logout registers with an expiry in the past, as `tailscale logout` does.
func (n *Node) Logout() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
	defer cancel()
	req := n.RegisterRequest()
	req.Expiry = time.Unix(123, 0).UTC()
	if _, err := n.Send(ctx, req); err != nil {
		n.t.Fatalf("%s: logout: %v", n.Host.Hostname, err)
	}
}

// MapRequest is the request that the node would send to open its stream.
func (n *Node) MapRequest() *tailcfg.MapRequest {
	return &tailcfg.MapRequest{
		Version:       n.Version,
		Compress:      "zstd",
		KeepAlive:     true,
		NodeKey:       n.Key.Public(),
		DiscoKey:      n.Disco.Public(),
		Stream:        true,
		Hostinfo:      n.Host.Clone(),
		Endpoints:     slices.Clone(n.Endpoints),
		EndpointTypes: slices.Repeat([]tailcfg.EndpointType{tailcfg.EndpointLocal}, len(n.Endpoints)),
	}
}

// Update sends a lite update with the node's current host info and endpoints, which must succeed.
func (n *Node) Update() {
	n.t.Helper()
	if err := n.TryUpdate(); err != nil {
		n.t.Fatalf("%s: %v", n.Host.Hostname, err)
	}
}

// TryUpdate sends a lite update.
func (n *Node) TryUpdate() error {
	req := n.MapRequest()
	req.Stream, req.OmitPeers = false, true
	status, answer, err := n.Call("POST", "/machine/map", req)
	if err != nil {
		return fmt.Errorf("lite update: %w", err)
	}
	if status != http.StatusOK {
		return fmt.Errorf("lite update: %w", &APIError{Status: status, Body: string(answer)})
	}
	return nil
}

// APINode is the node as the admin API currently shows it.
func (n *Node) APINode() (APINode, bool) {
	n.t.Helper()
	return n.Server.NodeByKey(n.Key.Public().String())
}

// ID is the node's id in the admin API. The node must exist.
func (n *Node) ID() string {
	n.t.Helper()
	found, ok := n.APINode()
	if !ok {
		n.t.Fatalf("%s: no node with its key", n.Host.Hostname)
	}
	return found.ID
}

// Join registers with a pre-auth key, sends a lite update and opens the stream, in the same order as the official client.
func (n *Node) Join(authKey string) *Stream {
	n.t.Helper()
	n.Register(authKey)
	st := n.Stream()
	n.Update()
	return st
}

// AuthID extracts the login id from an AuthURL.
func AuthID(authURL string) string {
	return authURL[strings.LastIndex(authURL, "/")+1:]
}
