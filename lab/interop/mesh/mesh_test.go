// Package mesh tests networks of official clients: real tailscaled processes, driven by their own command line.
package mesh

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/types/key"
)

func TestMain(m *testing.M) { harness.Main(m) }

var names = []string{"anna", "bert", "cleo", "dora", "emil"}

// pingLimit is how long the first reply on a path may take. Clients that have just learned of each other need up to five seconds.
const pingLimit = 25 * time.Second

// TestMesh takes a network of five clients, joined with one reusable key, through its life.
func TestMesh(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	clients := s.JoinClients(t, authKey, names)

	t.Run("every pair pings by address and name", func(t *testing.T) { pingAll(t, clients) })
	t.Run("every pair finds a direct path", func(t *testing.T) {
		eachPair(t, clients, func(from, to *harness.Client) error { return from.PingDirect(to.Name, pingLimit) })
	})
	t.Run("MagicDNS", func(t *testing.T) { magicDNS(t, clients) })
	t.Run("netcheck", func(t *testing.T) { netcheck(t, clients[0]) })
	t.Run("kill and restart", func(t *testing.T) { killAndRestart(t, s, clients, authKey) })
	t.Run("late join", func(t *testing.T) { lateJoin(t, s, clients, authKey) })
	t.Run("endpoint change", func(t *testing.T) { endpointChange(t, clients) })
	t.Run("rename", func(t *testing.T) { rename(t, s, clients) })
	t.Run("down and up", func(t *testing.T) { downAndUp(t, clients) })
	t.Run("logout and login", func(t *testing.T) { logoutAndLogin(t, s, clients, authKey) })
	t.Run("expiry", func(t *testing.T) { expiry(t, s, clients) })
	t.Run("delete", func(t *testing.T) { deletion(t, s, clients) })
}

// TestRelay tests the same network with UDP disabled, so that all traffic goes through the relay.
func TestRelay(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	clients := s.JoinClients(t, s.ReusableKey("alice"), names, harness.ClientEnv("TS_DEBUG_ALWAYS_USE_DERP=1"))
	t.Run("every pair pings by address and name", func(t *testing.T) { pingAll(t, clients) })
	t.Run("traffic through the relay", func(t *testing.T) {
		out, err := clients[0].Ping(clients[1].Name, pingLimit)
		if err != nil || !strings.Contains(out, "via DERP(headsail)") {
			t.Errorf("%s %v", out, err)
		}
	})
	t.Run("TCP", func(t *testing.T) {
		port := harness.EchoServer(t)
		begin := time.Now()
		const size = 8 << 20
		for _, family := range []int{4, 6} {
			addr := netip.AddrPortFrom(clients[3].Address(family), 0).Addr()
			if err := clients[2].Echo(joinHostPort(addr, port), size); err != nil {
				t.Error(err)
			}
		}
		t.Logf("2 x %d MiB there and back in %v", size>>20, time.Since(begin))
		if err := clients[2].Echo(clients[3].Name+"."+harness.BaseDomain+":"+port, 1024); err != nil {
			t.Errorf("by name: %v", err)
		}
	})
	t.Run("recovery after the relay restarts", func(t *testing.T) {
		s.Kill()
		s.Restart(t)
		if out, err := clients[0].Ping(clients[4].Name, 45*time.Second); err != nil {
			t.Errorf("%s %v", out, err)
		}
	})
}

func joinHostPort(addr netip.Addr, port string) string {
	if addr.Is6() {
		return "[" + addr.String() + "]:" + port
	}
	return addr.String() + ":" + port
}

// eachPair runs a check for every ordered pair, with one check at a time for each client.
func eachPair(t *testing.T, clients []*harness.Client, check func(from, to *harness.Client) error) {
	t.Helper()
	var wg sync.WaitGroup
	for _, from := range clients {
		wg.Go(func() {
			for _, to := range clients {
				if from == to {
					continue
				}
				if err := check(from, to); err != nil {
					t.Errorf("%s to %s: %v", from.Name, to.Name, err)
				}
			}
		})
	}
	wg.Wait()
}

func pingAll(t *testing.T, clients []*harness.Client) {
	addresses := map[*harness.Client][]string{}
	for _, c := range clients {
		addresses[c] = []string{c.Address(4).String(), c.Address(6).String(), c.Name}
	}
	begin := time.Now()
	eachPair(t, clients, func(from, to *harness.Client) error {
		for _, target := range addresses[to] {
			if _, err := from.Ping(target, pingLimit); err != nil {
				return err
			}
		}
		return nil
	})
	t.Logf("all %d pairs answered after %v", len(clients)*(len(clients)-1), time.Since(begin).Round(time.Millisecond))
}

// magicDNS queries a client's own resolver for the full name of a peer.
func magicDNS(t *testing.T, clients []*harness.Client) {
	want := clients[1].Address(4).String()
	for _, name := range []string{clients[1].Name, clients[1].Name + ".alice"} {
		out := clients[0].MustRun("dns", "query", name+"."+harness.BaseDomain, "A")
		if !strings.Contains(out, want) {
			t.Errorf("%s: want %s in %s", name, want, out)
		}
	}
}

func netcheck(t *testing.T, c *harness.Client) {
	out := c.MustRun("netcheck", "--format=json")
	var report struct {
		UDP           bool
		PreferredDERP int
		RegionLatency map[int]int64
	}
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &report); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if !report.UDP || report.PreferredDERP != harness.DERPRegion || report.RegionLatency[harness.DERPRegion] == 0 {
		t.Errorf("netcheck: %s", out)
	}
}

// identity contains the facts that must survive a crash of the server.
type identity struct {
	id, nodeKey, machineKey, name string
	addresses                     string
}

func identities(s *harness.Server) map[string]identity {
	all := map[string]identity{}
	for _, n := range s.Nodes() {
		all[n.ID] = identity{n.ID, n.NodeKey, n.MachineKey, n.GivenName, fmt.Sprint(n.IPAddresses)}
	}
	return all
}

func killAndRestart(t *testing.T, s *harness.Server, clients []*harness.Client, authKey string) {
	before := identities(s)
	s.Kill()
	begin := time.Now()
	s.Restart(t)
	after := identities(s)
	if !maps.Equal(before, after) {
		t.Errorf("before the crash %v, after it %v", before, after)
	}
	// Clients whose streams are open again see a node that joins now.
	probe := s.NewNode(t, "probe")
	probe.Register(authKey)
	for _, c := range clients {
		harness.Eventually(t, 45*time.Second, c.Name+" has reconnected", func() error {
			st, err := c.Status()
			if err != nil {
				return err
			}
			if _, ok := st.PeerNamed("probe"); !ok {
				return harness.Errorf("does not see the probe")
			}
			return nil
		})
	}
	t.Logf("all clients reconnected %v after the restart", time.Since(begin).Round(time.Millisecond))
	s.DeleteNode(probe.ID())
	if again := identities(s); !maps.Equal(before, again) {
		t.Errorf("a client had to log in again: before %v, now %v", before, again)
	}
	for _, c := range clients[1:] {
		if _, err := c.Ping(clients[0].Name, pingLimit); err != nil {
			t.Error(err)
		}
	}
}

// lateJoin measures with one clock: from the creation time that the server records to the arrival at the watchers.
func lateJoin(t *testing.T, s *harness.Server, clients []*harness.Client, authKey string) {
	raw := s.NewNode(t, "watcher")
	stream := raw.Join(authKey)
	watches := map[string]*harness.Watch{}
	for _, c := range clients {
		watches[c.Name] = c.Watch(t)
	}
	late := s.JoinClient(t, "late", authKey)
	status, err := late.Status()
	if err != nil {
		t.Fatal(err)
	}
	nodeKey := status.Self.PublicKey
	created := createdAt(t, s, nodeKey)
	f := stream.WaitFrame(t, "the late node", 5*time.Second, func(f *harness.Frame) bool {
		return strings.Contains(string(f.JSON), nodeKey.String())
	})
	if took := f.At.Sub(created); took > harness.Bound(200*time.Millisecond) {
		t.Errorf("the raw watcher saw it after %v", took)
	} else {
		t.Logf("the raw watcher saw it after %v", took)
	}
	for _, name := range slices.Sorted(maps.Keys(watches)) {
		var at time.Time
		harness.Eventually(t, 5*time.Second, name+" sees the late node", func() error {
			var ok bool
			if at, ok = watches[name].FirstSeen(nodeKey); !ok {
				return harness.Errorf("not yet")
			}
			return nil
		})
		took := at.Sub(created)
		t.Logf("%s saw it after %v", name, took.Round(time.Millisecond))
		// This includes the daemons' own work, and they share few cores with everything else.
		if took > 2*harness.Bound(200*time.Millisecond) {
			t.Errorf("%s saw the late node %v after its registration", name, took)
		}
	}
	late.Kill()
	raw.Logout()
	s.DeleteNode(idOf(t, s, nodeKey))
	s.DeleteNode(raw.ID())
}

func createdAt(t *testing.T, s *harness.Server, k key.NodePublic) time.Time {
	n, ok := s.NodeByKey(k.String())
	if !ok {
		t.Fatalf("no node with key %v", k)
	}
	return n.CreatedAt
}

func idOf(t *testing.T, s *harness.Server, k key.NodePublic) string {
	n, ok := s.NodeByKey(k.String())
	if !ok {
		t.Fatalf("no node with key %v", k)
	}
	return n.ID
}

// idOfClient is the client's node id in the admin API.
func idOfClient(t *testing.T, s *harness.Server, c *harness.Client) string {
	st, err := c.Status()
	if err != nil {
		t.Fatal(err)
	}
	return idOf(t, s, st.Self.PublicKey)
}

func endpointChange(t *testing.T, clients []*harness.Client) {
	mover := clients[1]
	mover.Kill()
	mover.Start() // it now listens on another port
	var port string
	mover.WaitStatus(t, "its new endpoints", func(st *harness.Status) error {
		if st.BackendState != "Running" || len(st.Self.Addrs) == 0 {
			return harness.Errorf("state %s, endpoints %v", st.BackendState, st.Self.Addrs)
		}
		port = netip.MustParseAddrPort(st.Self.Addrs[0]).String()
		return nil
	})
	for _, c := range clients {
		if c == mover {
			continue
		}
		c.WaitNetmap(t, "the new endpoint of "+mover.Name, func(nm *harness.ClientMap) error {
			p, err := nm.Peer(mover.Name)
			if err != nil {
				return err
			}
			if !slices.Contains(p.Endpoints, netip.MustParseAddrPort(port)) {
				return harness.Errorf("has %v, want %s", p.Endpoints, port)
			}
			return nil
		})
		if err := c.PingDirect(mover.Name, pingLimit); err != nil {
			t.Error(err)
		}
	}
}

// othersSee polls the status of every other client until look accepts it.
func othersSee(t *testing.T, clients []*harness.Client, subject *harness.Client, what string, look func(*harness.Status) error) {
	t.Helper()
	for _, c := range clients {
		if c != subject {
			c.WaitStatus(t, what, look)
		}
	}
}

func rename(t *testing.T, s *harness.Server, clients []*harness.Client) {
	subject := clients[2]
	if err := s.RenameNode(idOfClient(t, s, subject), "renamed"); err != nil {
		t.Fatal(err)
	}
	othersSee(t, clients, subject, "the new name", func(st *harness.Status) error {
		if _, ok := st.PeerNamed("renamed"); !ok {
			return harness.Errorf("no peer renamed")
		}
		return nil
	})
	subject.WaitStatus(t, "its own new name", func(st *harness.Status) error {
		if want := "renamed." + harness.BaseDomain + "."; st.Self.DNSName != want {
			return harness.Errorf("name %q", st.Self.DNSName)
		}
		return nil
	})
	if _, err := clients[0].Ping("renamed", pingLimit); err != nil {
		t.Error(err)
	}
	if err := s.RenameNode(idOfClient(t, s, subject), subject.Name); err != nil {
		t.Fatal(err)
	}
}

// downAndUp takes a client offline and online again. The others must see both, and when it was last seen.
func downAndUp(t *testing.T, clients []*harness.Client) {
	subject := clients[1]
	begin := time.Now()
	subject.MustRun("down")
	othersSee(t, clients, subject, "it is offline", func(st *harness.Status) error {
		p, ok := st.PeerNamed(subject.Name)
		if !ok || p.Online || p.LastSeen.Before(begin.Add(-time.Minute)) {
			return harness.Errorf("peer %+v", p)
		}
		return nil
	})
	t.Logf("offline for all %v after `down`", time.Since(begin).Round(time.Millisecond))
	subject.MustRun("up")
	othersSee(t, clients, subject, "it is online", func(st *harness.Status) error {
		if p, ok := st.PeerNamed(subject.Name); !ok || !p.Online {
			return harness.Errorf("not online")
		}
		return nil
	})
	if _, err := clients[0].Ping(subject.Name, pingLimit); err != nil {
		t.Error(err)
	}
}

func logoutAndLogin(t *testing.T, s *harness.Server, clients []*harness.Client, authKey string) {
	subject := clients[3]
	id := idOfClient(t, s, subject)
	before := s.MustNode(id)
	subject.MustRun("logout")
	othersSee(t, clients, subject, "the logout", func(st *harness.Status) error {
		if p, ok := st.PeerNamed(subject.Name); ok && !p.Expired {
			return harness.Errorf("still a valid peer")
		}
		return nil
	})
	subject.Up(authKey)
	after := s.MustNode(id)
	if after.NodeKey == before.NodeKey || !slices.Equal(after.IPAddresses, before.IPAddresses) {
		t.Errorf("before %+v, after %+v", before, after)
	}
	othersSee(t, clients, subject, "the login", func(st *harness.Status) error {
		if p, ok := st.PeerNamed(subject.Name); !ok || p.Expired || !p.Online {
			return harness.Errorf("not back: %v", ok)
		}
		return nil
	})
	for _, c := range clients[:3] {
		if _, err := c.Ping(subject.Name, pingLimit); err != nil {
			t.Error(err)
		}
	}
}

func expiry(t *testing.T, s *harness.Server, clients []*harness.Client) {
	subject := clients[3]
	s.ExpireNode(idOfClient(t, s, subject), time.Time{})
	othersSee(t, clients, subject, "the expiry", func(st *harness.Status) error {
		if p, ok := st.PeerNamed(subject.Name); ok && !p.Expired {
			return harness.Errorf("not expired")
		}
		return nil
	})
	subject.WaitStatus(t, "its own expiry", func(st *harness.Status) error {
		if st.BackendState != "NeedsLogin" {
			return harness.Errorf("state %s", st.BackendState)
		}
		return nil
	})
}

func deletion(t *testing.T, s *harness.Server, clients []*harness.Client) {
	subject := clients[4]
	s.DeleteNode(idOfClient(t, s, subject))
	othersSee(t, clients, subject, "the deletion", func(st *harness.Status) error {
		if _, ok := st.PeerNamed(subject.Name); ok {
			return harness.Errorf("still a peer")
		}
		return nil
	})
	subject.WaitStatus(t, "its own deletion", func(st *harness.Status) error {
		if st.BackendState == "Running" && len(st.Peer) > 0 {
			return harness.Errorf("still runs with %d peers", len(st.Peer))
		}
		return nil
	})
}
