// Package rustclient runs the Rust crate `tailscale`, a second implementation of the client, against the server.
// The build takes minutes, so these tests run only with HEADSAIL_INTEROP_ALL=1.
package rustclient

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/types/ipproto"
)

func TestMain(m *testing.M) { harness.Main(m) }

// build compiles the Rust program into the cache folder, once per test run.
var build = sync.OnceValues(func() (string, error) {
	cache, err := harness.CacheDir()
	if err != nil {
		return "", err
	}
	_, file, _, _ := runtime.Caller(0)
	target := filepath.Join(cache, "rust-client")
	cmd := exec.Command("cargo", "build", "--locked", "--target-dir", target)
	cmd.Dir = filepath.Dir(file)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cargo build: %w\n%s", err, out)
	}
	return filepath.Join(target, "debug", "headsail-interop-rust-client"), nil
})

// rustNode is one running Rust node.
type rustNode struct {
	t     *testing.T
	lines chan map[string]any
	in    io.Writer
	ipv4  netip.Addr
	ipv6  netip.Addr
}

func start(t *testing.T, s *harness.Server, hostname string, authKey ...string) *rustNode {
	t.Helper()
	if !harness.All() {
		t.Skip("the build takes minutes: set HEADSAIL_INTEROP_ALL=1")
	}
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(binary, append([]string{s.URL, filepath.Join(dir, "keys.json"), hostname}, authKey...)...)
	cmd.Env = append(os.Environ(), "RUST_LOG=warn")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errors := harness.CaptureErrors(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := &rustNode{t: t, lines: make(chan map[string]any, 16), in: in}
	go func() {
		defer close(n.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			var line map[string]any
			if json.Unmarshal(scan.Bytes(), &line) == nil {
				n.lines <- line
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%.4000s", hostname, errors.All())
		}
	})
	return n
}

// next waits for the next line.
func (n *rustNode) next() map[string]any {
	n.t.Helper()
	select {
	case line, ok := <-n.lines:
		if !ok {
			n.t.Fatal("the Rust node ended")
		}
		return line
	case <-time.After(60 * time.Second):
		n.t.Fatal("the Rust node printed nothing for 60s")
	}
	return nil
}

// up waits until the node has its addresses.
func (n *rustNode) up() {
	n.t.Helper()
	line := n.next()
	var err4, err6 error
	n.ipv4, err4 = netip.ParseAddr(fmt.Sprint(line["ipv4"]))
	n.ipv6, err6 = netip.ParseAddr(fmt.Sprint(line["ipv6"]))
	if err4 != nil || err6 != nil {
		n.t.Fatalf("the Rust node printed %v", line)
	}
}

// ask sends a command and returns the answer.
func (n *rustNode) ask(format string, args ...any) map[string]any {
	n.t.Helper()
	fmt.Fprintf(n.in, format+"\n", args...)
	return n.next()
}

func joined(t *testing.T, s *harness.Server, hostname, authKey string) *rustNode {
	t.Helper()
	n := start(t, s, hostname, authKey)
	n.up()
	return n
}

func TestRustJoin(t *testing.T) {
	t.Parallel()
	s := harness.StartInsecureRelay(t)
	n := joined(t, s, "rusty", s.ReusableKey("alice"))
	nodes := s.Nodes()
	if len(nodes) != 1 || nodes[0].IPAddresses[0] != n.ipv4 || nodes[0].IPAddresses[1] != n.ipv6 || nodes[0].GivenName != "rusty" {
		t.Errorf("API %+v, node %v %v", nodes, n.ipv4, n.ipv6)
	}
}

func TestRustLogin(t *testing.T) {
	t.Parallel()
	s := harness.StartInsecureRelay(t)
	s.CreateUser("alice")
	n := start(t, s, "rusty")
	url, _ := n.next()["auth_url"].(string)
	if !strings.HasPrefix(url, s.URL+"/register/") {
		t.Fatalf("AuthURL %q", url)
	}
	if err := s.RegisterAuth(harness.AuthID(url), "alice"); err != nil {
		t.Fatal(err)
	}
	n.up()
}

// TestRustEcho sends text over TCP through the relay, from Rust to Go and from Go to Rust, in a mesh with every supported official release.
func TestRustEcho(t *testing.T) {
	t.Parallel()
	s := harness.StartInsecureRelay(t)
	authKey := s.ReusableKey("alice")
	n := joined(t, s, "rusty", authKey)
	if answer := n.ask("listen 7777"); answer["listening"] != "7777" {
		t.Fatalf("listen: %v", answer)
	}
	port := harness.EchoServer(t)
	for _, version := range []string{harness.OldestClient, harness.NewestClient} {
		c := s.JoinClient(t, "go-"+strings.ReplaceAll(version, ".", "-"), authKey, harness.ClientVersion(version), harness.ClientEnv("TS_DEBUG_ALWAYS_USE_DERP=1"))
		remote := net.JoinHostPort(c.Address(4).String(), port)
		harness.Eventually(t, 60*time.Second, "Rust to Go "+version, func() error {
			if answer := n.ask("dial %s hello-from-rust", remote); answer["echo"] != "hello-from-rust" {
				return harness.Errorf("%v", answer)
			}
			return nil
		})
		harness.Eventually(t, 60*time.Second, "Go "+version+" to Rust", func() error { return c.Echo(net.JoinHostPort(n.ipv4.String(), "7777"), 1024) })
	}
}

func TestRustPeersUpdateLive(t *testing.T) {
	t.Parallel()
	s := harness.StartInsecureRelay(t)
	authKey := s.ReusableKey("alice")
	n := joined(t, s, "rusty", authKey)
	raw := s.NewNode(t, "raw")
	raw.Join(authKey)
	knows := func(want bool) func() error {
		return func() error {
			if answer := n.ask("peer raw"); (answer["peer"] != nil) != want {
				return harness.Errorf("%v", answer)
			}
			return nil
		}
	}
	harness.Eventually(t, 15*time.Second, "the peer appears", knows(true))
	s.DeleteNode(raw.ID())
	harness.Eventually(t, 15*time.Second, "the peer disappears", knows(false))
}

func TestRustRoutes(t *testing.T) {
	t.Parallel()
	s := harness.StartInsecureRelay(t)
	authKey := s.ReusableKey("alice")
	n := joined(t, s, "rusty", authKey)
	router := s.NewNode(t, "router")
	router.Host.RoutableIPs = append(router.Host.RoutableIPs, netip.MustParsePrefix("10.9.0.0/16"))
	router.Join(authKey)
	routed := func(want int) func() error {
		return func() error {
			answer := n.ask("route 10.9.1.1")
			if peers, ok := answer["peers"].([]any); !ok || len(peers) != want {
				return harness.Errorf("%v", answer)
			}
			return nil
		}
	}
	harness.Eventually(t, 15*time.Second, "no route", routed(0))
	s.ApproveRoutes(router.ID(), "10.9.0.0/16")
	harness.Eventually(t, 15*time.Second, "the approved route", routed(1))
	s.ApproveRoutes(router.ID())
	harness.Eventually(t, 15*time.Second, "no route again", routed(0))
}

// TestRustPolicyChange blocks and allows traffic between a Rust node and a Go node without a reconnect.
func TestRustPolicyChange(t *testing.T) {
	t.Parallel()
	s := harness.StartInsecureRelay(t)
	n := joined(t, s, "rusty", s.ReusableKey("alice"))
	c := s.JoinClient(t, "golang", s.ReusableKey("bob"))
	remote := net.JoinHostPort(c.Address(4).String(), harness.EchoServer(t))
	echo := func() error {
		if answer := n.ask("dial %s hi", remote); answer["echo"] != "hi" {
			return harness.Errorf("%v", answer)
		}
		return nil
	}
	harness.Eventually(t, 60*time.Second, "open", echo)
	s.MustSetPolicy(t, `{"acls": [{"action": "accept", "src": ["bob@"], "dst": ["alice@:*"]}]}`)
	c.WaitNetmap(t, "the closed filter", func(nm *harness.ClientMap) error {
		if ok, err := harness.RulesAllow(nm.PacketFilterRules, n.ipv4, c.Address(4), 80, ipproto.TCP); err != nil || ok {
			return harness.Errorf("still open: %v", err)
		}
		return nil
	})
	if err := echo(); err == nil {
		t.Error("the policy blocks the echo, but it arrived")
	}
	s.MustSetPolicy(t, `{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}`)
	harness.Eventually(t, 60*time.Second, "open again", echo)
}
