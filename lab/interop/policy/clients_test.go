package policy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/netlink"
	"headsail.invalid/interop/harness"
	"tailscale.com/tailcfg"
)

const pingLimit = 25 * time.Second

// loopbackAddress adds an address in 192.0.2.0/24 to the loopback interface until the test ends. It stands for a host behind a subnet
// router that can be reached without leaving the machine. It needs root.
func loopbackAddress(t *testing.T) string {
	t.Helper()
	var failure error
	for range 20 { // a concurrent run may use the same address
		addr := fmt.Sprintf("192.0.2.%d", 1+rand.IntN(254))
		loopback, err := netlink.LinkByName("lo")
		if err != nil {
			t.Fatal(err)
		}
		label, err := netlink.ParseAddr(addr + "/32")
		if err != nil {
			t.Fatal(err)
		}
		if failure = netlink.AddrAdd(loopback, label); failure == nil {
			t.Cleanup(func() { netlink.AddrDel(loopback, label) })
			return addr
		}
	}
	if harness.InCI() {
		t.Fatalf("add an address to loopback: %v", failure)
	}
	t.Skipf("cannot add an address to loopback here: %v", failure)
	return ""
}

// sentTo returns how many bytes a client has sent to a peer.
func sentTo(t *testing.T, c *harness.Client, peer string) int64 {
	t.Helper()
	st, err := c.Status()
	if err != nil {
		t.Fatal(err)
	}
	p, ok := st.PeerNamed(peer)
	if !ok {
		t.Fatalf("%s does not see %s", c.Name, peer)
	}
	return p.TxBytes
}

// passes sends a megabyte and checks that it went through the router, because a userspace client connects directly to addresses for
// which it has no route.
func passes(t *testing.T, c *harness.Client, router, addr string) error {
	t.Helper()
	const size = 1 << 20
	before := sentTo(t, c, router)
	if err := c.Echo(addr, size); err != nil {
		return err
	}
	if sent := sentTo(t, c, router) - before; sent < size {
		return harness.Errorf("only %d bytes went to %s", sent, router)
	}
	return nil
}

func TestRoutesOfficial(t *testing.T) {
	t.Parallel()
	behind := loopbackAddress(t)
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	router := s.NewClient(t, "router")
	router.Up(authKey, "--advertise-routes=192.0.2.0/24", "--advertise-exit-node")
	client := s.NewClient(t, "client")
	client.Up(authKey, "--accept-routes")
	if _, err := client.Ping("router", pingLimit); err != nil {
		t.Fatal(err)
	}
	target := net.JoinHostPort(behind, harness.EchoServerOn(t, behind))
	id := nodeNamed(t, s, "router").ID
	if routes := nodeNamed(t, s, "router").AvailableRoutes; len(routes) != 3 {
		t.Errorf("advertised %v", routes)
	}

	t.Run("subnet", func(t *testing.T) {
		s.ApproveRoutes(id, "192.0.2.0/24")
		primary := func(list []string) bool { return slices.Equal(list, []string{"192.0.2.0/24"}) }
		client.WaitNetmap(t, "the route", func(nm *harness.ClientMap) error {
			p, err := nm.Peer("router")
			if err == nil && !primary(texts(p.PrimaryRoutes)) {
				err = harness.Errorf("primary routes %v", p.PrimaryRoutes)
			}
			return err
		})
		router.WaitNetmap(t, "its own route", func(nm *harness.ClientMap) error {
			if !primary(texts(nm.SelfNode.PrimaryRoutes)) {
				return harness.Errorf("primary routes %v", nm.SelfNode.PrimaryRoutes)
			}
			return nil
		})
		harness.Eventually(t, 30*time.Second, "traffic through the router", func() error { return passes(t, client, "router", target) })
	})
	t.Run("exit node", func(t *testing.T) {
		s.ApproveRoutes(id, "0.0.0.0/0")
		client.WaitStatus(t, "the exit node", func(st *harness.Status) error {
			if p, ok := st.PeerNamed("router"); !ok || !p.ExitNodeOption {
				return harness.Errorf("no exit node option")
			}
			return nil
		})
		if out := client.MustRun("exit-node", "list"); !strings.Contains(out, "router") {
			t.Errorf("exit-node list: %s", out)
		}
		client.MustRun("set", "--exit-node=router")
		harness.Eventually(t, 30*time.Second, "traffic through the exit node", func() error { return passes(t, client, "router", target) })
	})
	t.Run("revoked", func(t *testing.T) {
		client.MustRun("set", "--exit-node=")
		s.ApproveRoutes(id)
		client.WaitStatus(t, "no exit node", func(st *harness.Status) error {
			if p, ok := st.PeerNamed("router"); ok && p.ExitNodeOption {
				return harness.Errorf("still an exit node")
			}
			return nil
		})
	})
}

func nodeNamed(t *testing.T, s *harness.Server, name string) harness.APINode {
	t.Helper()
	for _, n := range s.Nodes() {
		if n.GivenName == name {
			return n
		}
	}
	t.Fatalf("no node %s", name)
	return harness.APINode{}
}

// TestTaildropReachesOwnNodesOnly sends files between official clients: to a node of the same user, but not to one of another user.
func TestTaildropReachesOwnNodesOnly(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	one := s.JoinClient(t, "one", authKey)
	two := s.JoinClient(t, "two", authKey)
	s.JoinClient(t, "bobs", s.ReusableKey("bob"))
	if _, err := one.Ping("two", pingLimit); err != nil {
		t.Fatal(err)
	}
	var targets string
	harness.Eventually(t, 20*time.Second, "the target", func() error {
		out, err := one.Run(10*time.Second, "file", "cp", "--targets")
		targets = out
		if err == nil && !strings.Contains(out, "two") {
			err = harness.Errorf("targets %q", out)
		}
		return err
	})
	if strings.Contains(targets, "bobs") {
		t.Errorf("another user's node is listed as a target: %s", targets)
	}
	file := filepath.Join(one.Dir, "letter.txt")
	if err := os.WriteFile(file, []byte("dear two"), 0o600); err != nil {
		t.Fatal(err)
	}
	one.MustRun("file", "cp", file, "two:")
	inbox := t.TempDir()
	two.MustRun("file", "get", "--wait", inbox)
	if got, err := os.ReadFile(filepath.Join(inbox, "letter.txt")); err != nil || string(got) != "dear two" {
		t.Errorf("received %q %v", got, err)
	}
	if out, err := one.Run(20*time.Second, "file", "cp", file, "bobs:"); err == nil {
		t.Errorf("a file was sent to another user's node: %s", out)
	}
}

// TestTaildropCanBeDisabled checks that `taildrop.enabled: false` removes the capability.
func TestTaildropCanBeDisabled(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Set("taildrop.enabled", false))
	self := s.NewNode(t, "n").Join(s.ReusableKey("alice")).View().Self
	if _, ok := self.CapMap[tailcfg.CapabilityFileSharing]; ok {
		t.Error("file sharing is enabled although it was disabled")
	}
	s2 := harness.Start(t)
	self = s2.NewNode(t, "n").Join(s2.ReusableKey("alice")).View().Self
	if _, ok := self.CapMap[tailcfg.CapabilityFileSharing]; !ok {
		t.Error("file sharing is not enabled by default")
	}
}

// TestGrantedCapabilitiesReachClients grants an application capability and Taildrive, and checks what the official client allows a peer.
func TestGrantedCapabilitiesReachClients(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	alice := s.CreateUser("alice")
	s.MustSetPolicy(t, `{
		"tagOwners": {"tag:server": ["alice@"]},
		"grants": [
			{"src": ["*"], "dst": ["*"], "ip": ["*"]},
			{"src": ["alice@"], "dst": ["tag:server"], "app": {"example.com/cap/demo": [{"role": "editor"}], "tailscale.com/cap/drive": [{"shares": ["*"], "access": "rw"}]}}
		],
		"nodeAttrs": [{"target": ["tag:server"], "attr": ["drive:share"]}, {"target": ["alice@"], "attr": ["drive:access", "custom:x"]}]
	}`)
	server := s.NewClient(t, "server")
	server.Up(s.CreateKey(harness.Key{Reusable: true, Tags: []string{"tag:server"}}).Key)
	laptop := s.JoinClient(t, "laptop", s.CreateKey(harness.Key{User: alice, Reusable: true}).Key)
	var who struct {
		CapMap map[string][]json.RawMessage
	}
	harness.Eventually(t, 20*time.Second, "the granted capabilities", func() error {
		out, err := server.Run(10*time.Second, "whois", "--json", laptop.Address(4).String())
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(out), &who); err != nil {
			return err
		}
		if len(who.CapMap["example.com/cap/demo"]) != 1 || len(who.CapMap["tailscale.com/cap/drive"]) != 1 {
			return harness.Errorf("capabilities %s", out)
		}
		return nil
	})
	if got := string(who.CapMap["example.com/cap/demo"][0]); !strings.Contains(got, `"editor"`) {
		t.Errorf("capability value %s", got)
	}
	laptop.WaitNetmap(t, "node attributes", func(nm *harness.ClientMap) error {
		if _, ok := nm.SelfNode.CapMap["custom:x"]; !ok {
			return harness.Errorf("own capabilities %v", nm.SelfNode.CapMap)
		}
		return nil
	})
}
