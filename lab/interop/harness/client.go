package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/proxy"
	"tailscale.com/client/local"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// upLimit is how long `tailscale up` may take. On a quiet machine it takes 2 s, or 6 s without UDP.
const upLimit = 60 * time.Second

// Client is an official tailscaled in userspace mode with its own state folder, and without access to anything but loopback.
type Client struct {
	Name    string
	Version string
	Dir     string
	Socket  string

	t      testing.TB
	server *Server
	bin    string
	socks  string
	env    []string
	cmd    *exec.Cmd
	exited chan struct{}
}

// ClientOption changes how a client is started.
type ClientOption func(*Client)

// ClientVersion chooses a release other than the newest.
func ClientVersion(v string) ClientOption { return func(c *Client) { c.Version = v } }

// ClientEnv adds NAME=VALUE to the environment of the daemon.
func ClientEnv(pairs ...string) ClientOption {
	return func(c *Client) { c.env = append(c.env, pairs...) }
}

// NewClient starts a tailscaled that is not logged in. It is stopped when the test ends.
func (s *Server) NewClient(t testing.TB, name string, opts ...ClientOption) *Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "tc")
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{Name: name, Version: NewestClient, Dir: dir, Socket: filepath.Join(dir, "t.sock"), t: t, server: s}
	for _, opt := range opts {
		opt(c)
	}
	if c.bin, err = OfficialClient(c.Version); err != nil {
		t.Fatal(err)
	}
	c.socks = "127.0.0.1:" + FreePort(t)
	t.Cleanup(func() {
		c.Kill()
		if t.Failed() {
			t.Logf("%s (%s) log:\n%s", c.Name, c.Version, c.logTail(25))
		}
		if os.Getenv("HEADSAIL_INTEROP_KEEP") == "" {
			os.RemoveAll(dir)
		}
	})
	c.Start()
	return c
}

// Start starts the daemon, or starts it again after [Client.Kill].
func (c *Client) Start() {
	c.t.Helper()
	log, err := os.OpenFile(filepath.Join(c.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(c.bin, "tailscaled"), "--tun=userspace-networking", "--statedir="+c.Dir, "--socket="+c.Socket,
		"--port=0", "--no-logs-no-support", "--socks5-server="+c.socks, "--verbose=1")
	cmd.Env = append([]string{
		"HOME=" + c.Dir, "PATH=" + os.Getenv("PATH"), "TS_LOGS_DIR=" + c.Dir,
		"RUN_OF_CI=" + os.Getenv("RUN_OF_CI"), // lets CI find the processes that it has started
		"TS_NO_LOGS_NO_SUPPORT=true", "TS_PANIC_IF_HIT_MAIN_CONTROL=1", "TS_DISABLE_PORTMAPPER=1", "TS_DISABLE_UPNP=1",
		"TS_ASSUME_NETWORK_UP_FOR_TEST=1", "TS_DEBUG_LOG_RATE=all",
	}, c.env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := startLocked(cmd); err != nil {
		c.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		log.Close()
		close(exited)
	}()
	c.cmd, c.exited = cmd, exited
	Eventually(c.t, 20*time.Second, c.Name+": daemon socket", func() error {
		conn, err := net.Dial("unix", c.Socket)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// Kill kills the daemon with SIGKILL, like a power failure.
func (c *Client) Kill() {
	if c.cmd != nil {
		c.cmd.Process.Kill()
		<-c.exited
	}
}

func (c *Client) logTail(lines int) string {
	data, _ := os.ReadFile(filepath.Join(c.Dir, "log"))
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Run runs a `tailscale` command against the daemon and returns its output.
func (c *Client) Run(limit time.Duration, args ...string) (string, error) {
	return c.RunInput(limit, nil, args...)
}

// RunInput is [Client.Run] with a standard input.
func (c *Client) RunInput(limit time.Duration, input io.Reader, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := c.Command(ctx, args...)
	cmd.Stdin = input
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: tailscale %s: %w: %s", c.Name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Command prepares a `tailscale` command.
func (c *Client) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "tailscale"), append([]string{"--socket=" + c.Socket}, args...)...)
	cmd.Env = []string{"HOME=" + c.Dir, "PATH=" + os.Getenv("PATH")}
	cmd.Dir = c.Dir
	cmd.WaitDelay = time.Second
	return cmd
}

// MustRun is [Client.Run] for commands that must succeed.
func (c *Client) MustRun(args ...string) string {
	c.t.Helper()
	out, err := c.Run(upLimit, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// Up logs in with a pre-auth key, with the client's name as its hostname.
func (c *Client) Up(authKey string, more ...string) {
	c.t.Helper()
	c.MustRun(append([]string{"up", "--login-server=" + c.server.URL, "--auth-key=" + authKey, "--hostname=" + c.Name, "--timeout=50s"}, more...)...)
}

// JoinClient starts a client and logs it in.
func (s *Server) JoinClient(t testing.TB, name, authKey string, opts ...ClientOption) *Client {
	t.Helper()
	c := s.NewClient(t, name, opts...)
	c.Up(authKey)
	return c
}

// JoinClients starts several clients, logs them in concurrently and waits until all of them see each other.
func (s *Server) JoinClients(t testing.TB, authKey string, names []string, opts ...ClientOption) []*Client {
	t.Helper()
	clients := make([]*Client, len(names))
	for i, name := range names {
		clients[i] = s.NewClient(t, name, opts...)
	}
	UpAll(t, clients, authKey)
	return clients
}

// UpAll logs clients in concurrently and waits until all of them see each other.
func UpAll(t testing.TB, clients []*Client, authKey string) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, len(clients))
	for i, c := range clients {
		wg.Go(func() {
			_, errs[i] = c.Run(upLimit, "up", "--login-server="+c.server.URL, "--auth-key="+authKey, "--hostname="+c.Name, "--timeout=50s")
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range clients {
		c.WaitStatus(t, "all peers", func(st *Status) error {
			for _, other := range clients {
				if _, ok := st.PeerNamed(other.Name); !ok && other != c {
					return fmt.Errorf("%s does not see %s", c.Name, other.Name)
				}
			}
			return nil
		})
	}
}

// Status is the output of `tailscale status --json`.
type Status struct{ *ipnstate.Status }

// Status asks the daemon.
func (c *Client) Status() (*Status, error) {
	out, err := c.Run(15*time.Second, "status", "--json")
	if err != nil {
		return nil, err
	}
	st := new(ipnstate.Status)
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):]), st); err != nil {
		return nil, fmt.Errorf("%s: status: %w in %s", c.Name, err, out)
	}
	return &Status{st}, nil
}

// PeerNamed finds a peer by the first label of its DNS name.
func (st *Status) PeerNamed(name string) (*ipnstate.PeerStatus, bool) {
	for _, p := range st.Peer {
		if firstLabel(p.DNSName) == name {
			return p, true
		}
	}
	return nil, false
}

// WaitStatus polls the status until look returns nil.
func (c *Client) WaitStatus(t testing.TB, what string, look func(*Status) error) {
	t.Helper()
	Eventually(t, 30*time.Second, c.Name+": "+what, func() error {
		st, err := c.Status()
		if err != nil {
			return err
		}
		return look(st)
	})
}

// Address is the client's own tailnet address of the given family (4 or 6).
func (c *Client) Address(family int) netip.Addr {
	c.t.Helper()
	st, err := c.Status()
	if err != nil {
		c.t.Fatal(err)
	}
	i := slices.IndexFunc(st.TailscaleIPs, func(a netip.Addr) bool { return a.Is4() == (family == 4) })
	if i < 0 {
		c.t.Fatalf("%s: no IPv%d address in %v", c.Name, family, st.TailscaleIPs)
	}
	return st.TailscaleIPs[i]
}

// Ping pings through the tailnet until it gets one reply, over any path, and returns the line that reports it.
func (c *Client) Ping(target string, limit time.Duration) (string, error) {
	var last string
	err := Poll(limit, func() error {
		out, err := c.Run(12*time.Second, "ping", "--c=1", "--timeout=3s", "--until-direct=false", target)
		last = strings.TrimSpace(out)
		if err == nil && !strings.Contains(out, "pong from") {
			err = fmt.Errorf("%s: ping %s: %s", c.Name, target, out)
		}
		return err
	})
	return last, err
}

// PingDirect pings until a reply arrives over a direct path.
func (c *Client) PingDirect(target string, limit time.Duration) error {
	return Poll(limit, func() error {
		out, err := c.Run(15*time.Second, "ping", "--c=5", "--timeout=3s", "--until-direct=true", target)
		if err != nil {
			return err
		}
		if strings.Contains(out, "direct connection not established") || !strings.Contains(out, "pong from") {
			return fmt.Errorf("%s: ping %s: %s", c.Name, target, out)
		}
		return nil
	})
}

// Dial opens a TCP connection through the tailnet, using the daemon's SOCKS5 server.
func (c *Client) Dial(addr string) (net.Conn, error) {
	dialer, err := proxy.SOCKS5("tcp", c.socks, nil, &net.Dialer{Timeout: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	return dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", addr)
}

// Echo opens a TCP connection to addr through the tailnet, sends size bytes and expects the same bytes back.
func (c *Client) Echo(addr string, size int) error {
	conn, err := c.Dial(addr)
	if err != nil {
		return fmt.Errorf("%s: dial %s: %w", c.Name, addr, err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	sent := bytes.Repeat([]byte("headsail"), size/8)
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Write(sent)
		failed <- err
	}()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, got); err != nil {
		return fmt.Errorf("%s: echo from %s: %w", c.Name, addr, err)
	}
	if err := <-failed; err != nil {
		return err
	}
	if !bytes.Equal(sent, got) {
		return fmt.Errorf("%s: the echo from %s differs from what was sent", c.Name, addr)
	}
	return nil
}

// EchoServer listens on loopback and echoes what it receives. A userspace client forwards tailnet connections to its own address
// and this port to it.
func EchoServer(t testing.TB) (port string) { return EchoServerOn(t, "127.0.0.1") }

// EchoServerOn is [EchoServer] on another address of this machine.
func EchoServerOn(t testing.TB, addr string) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// Local is the client's own local API.
func (c *Client) Local() *local.Client {
	return &local.Client{Socket: c.Socket, UseSocketOnly: true}
}

// ClientMap is the part of `tailscale debug netmap` that tests use.
type ClientMap struct {
	SelfNode          *tailcfg.Node
	Peers             []*tailcfg.Node
	DNS               tailcfg.DNSConfig
	PacketFilterRules []tailcfg.FilterRule
	SSHPolicy         *tailcfg.SSHPolicy
	Domain            string
}

// Netmap returns the daemon's current netmap.
func (c *Client) Netmap() (*ClientMap, error) {
	out, err := c.Run(15*time.Second, "debug", "netmap")
	if err != nil {
		return nil, err
	}
	nm := new(ClientMap)
	if err := json.Unmarshal([]byte(out), nm); err != nil {
		return nil, fmt.Errorf("%s: netmap: %w", c.Name, err)
	}
	return nm, nil
}

// WaitNetmap polls the daemon's netmap until look returns nil.
func (c *Client) WaitNetmap(t testing.TB, what string, look func(*ClientMap) error) {
	t.Helper()
	Eventually(t, 30*time.Second, c.Name+": "+what, func() error {
		nm, err := c.Netmap()
		if err != nil {
			return err
		}
		return look(nm)
	})
}

// Peer finds a peer by the first label of its name.
func (nm *ClientMap) Peer(name string) (*tailcfg.Node, error) {
	for _, p := range nm.Peers {
		if firstLabel(p.Name) == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no peer %s", name)
}

// Watch follows the daemon's notifications and records when each peer first appeared.
type Watch struct {
	mu   sync.Mutex
	seen map[key.NodePublic]time.Time
}

// Watch starts to follow the daemon. Releases before 1.100 report peers in another form and are not followed.
func (c *Client) Watch(t testing.TB) *Watch {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	bus, err := c.Local().WatchIPNBus(ctx, ipn.NotifyInitialState|ipn.NotifyPeerChanges)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	w := &Watch{seen: map[key.NodePublic]time.Time{}}
	ended := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		bus.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		for {
			n, err := bus.Next()
			if err != nil {
				return
			}
			w.mu.Lock()
			for _, p := range n.PeersChanged {
				if _, known := w.seen[p.Key]; !known {
					w.seen[p.Key] = time.Now()
				}
			}
			w.mu.Unlock()
		}
	}()
	return w
}

// FirstSeen returns when the daemon first reported a peer with this key.
func (w *Watch) FirstSeen(k key.NodePublic) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.seen[k]
	return at, ok
}
