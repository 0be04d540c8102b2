package policy

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/tailcfg"
	"tailscale.com/types/ipproto"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// routes returns the prefixes of AllowedIPs that are not the node's own addresses.
func routes(n *tailcfg.Node) []string {
	var out []string
	for _, p := range n.AllowedIPs {
		if !slices.Contains(n.Addresses, p) {
			out = append(out, p.String())
		}
	}
	slices.Sort(out)
	return out
}

// sees waits until a peer has exactly these routes and these primary routes.
func sees(t *testing.T, st *harness.Stream, peer, what string, wantRoutes, wantPrimary []string) {
	t.Helper()
	slices.Sort(wantRoutes)
	st.Wait(t, what, 20*time.Second, func(v *harness.View) bool {
		p, ok := v.Peer(peer)
		return ok && slices.Equal(routes(p), wantRoutes) && slices.Equal(texts(p.PrimaryRoutes), wantPrimary)
	})
}

func texts(list []netip.Prefix) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	slices.Sort(out)
	return out
}

func TestApprovedSubnetRoutes(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	viewer, router := s.NewNode(t, "viewer"), s.NewNode(t, "router")
	router.Host.RoutableIPs = prefixes("10.33.0.0/16", "fd00:33::/64")
	st := viewer.Join(authKey)
	rst := router.Join(authKey)
	id := router.ID()
	sees(t, st, "router", "the router without routes", nil, nil)
	if n := s.MustNode(id); len(n.AvailableRoutes) != 2 || len(n.ApprovedRoutes) != 0 || len(n.SubnetRoutes) != 0 {
		t.Errorf("API before approval: %+v", n)
	}
	s.ApproveRoutes(id, "10.33.0.0/16")
	sees(t, st, "router", "the approved route", []string{"10.33.0.0/16"}, []string{"10.33.0.0/16"})
	rst.Wait(t, "its own approved route", updateTimeout, func(v *harness.View) bool {
		return slices.Contains(texts(v.Self.AllowedIPs), "10.33.0.0/16") && slices.Contains(texts(v.Self.PrimaryRoutes), "10.33.0.0/16")
	})
	rst.Wait(t, "a filter for it", updateTimeout, func(v *harness.View) bool {
		ok, _ := v.AllowsTo(st.View().V4(), netip.MustParseAddr("10.33.1.1"), 80, ipproto.TCP)
		return ok
	})
	if n := s.MustNode(id); !slices.Equal(n.ApprovedRoutes, []string{"10.33.0.0/16"}) || !slices.Equal(n.SubnetRoutes, []string{"10.33.0.0/16"}) {
		t.Errorf("API after approval: %+v", n)
	}
	s.ApproveRoutes(id, "10.33.0.0/16", "fd00:33::/64")
	sees(t, st, "router", "both", []string{"10.33.0.0/16", "fd00:33::/64"}, []string{"10.33.0.0/16", "fd00:33::/64"})
	// A route that is no longer advertised is no longer served, although it is still approved.
	router.Host.RoutableIPs = prefixes("fd00:33::/64")
	router.Update()
	sees(t, st, "router", "only the advertised route", []string{"fd00:33::/64"}, []string{"fd00:33::/64"})
	s.ApproveRoutes(id)
	sees(t, st, "router", "nothing after revocation", nil, nil)
	rst.Wait(t, "its own revocation", updateTimeout, func(v *harness.View) bool { return len(routes(v.Self)) == 0 && len(v.Self.PrimaryRoutes) == 0 })
	st.SameAsFresh(t, "routes")
	rst.SameAsFresh(t, "router")
}

func TestApprovedExitNode(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	viewer, exit := s.NewNode(t, "viewer"), s.NewNode(t, "exit")
	exit.Host.RoutableIPs = prefixes("0.0.0.0/0", "::/0")
	st := viewer.Join(authKey)
	exit.Join(authKey)
	id := exit.ID()
	sees(t, st, "exit", "no routes yet", nil, nil)
	s.ApproveRoutes(id, "0.0.0.0/0")
	sees(t, st, "exit", "both default routes", []string{"0.0.0.0/0", "::/0"}, nil)
	if n := s.MustNode(id); len(n.ApprovedRoutes) != 2 {
		t.Errorf("API: %v", n.ApprovedRoutes)
	}
	s.ApproveRoutes(id)
	sees(t, st, "exit", "none after revocation", nil, nil)
	st.SameAsFresh(t, "exit")
}

func TestPrimaryFailover(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	st := s.NewNode(t, "viewer").Join(authKey)
	route := []string{"10.44.0.0/16"}
	streams := map[string]*harness.Stream{}
	nodes := map[string]*harness.Node{}
	for _, name := range []string{"one", "two"} {
		n := s.NewNode(t, name)
		n.Host.RoutableIPs = prefixes(route...)
		streams[name], nodes[name] = n.Join(authKey), n
		s.ApproveRoutes(n.ID(), route...)
	}
	sees(t, st, "one", "the first is primary", route, route)
	sees(t, st, "two", "the second is not", nil, nil)
	streams["one"].Close()
	left := time.Now()
	sees(t, st, "two", "failover", route, route)
	took := time.Since(left)
	t.Logf("failover after %v", took)
	if took > 15*time.Second {
		t.Errorf("failover after %v", took)
	}
	sees(t, st, "one", "the lost primary", nil, nil)
	nodes["one"].Stream()
	st.Wait(t, "the first is back", updateTimeout, func(v *harness.View) bool {
		p, ok := v.Peer("one")
		return ok && p.Online != nil && *p.Online
	})
	harness.Holds(t, 2*time.Second, "the second stays primary", func() error {
		two, _ := st.View().Peer("two")
		if !slices.Equal(texts(two.PrimaryRoutes), route) {
			return harness.Errorf("primary %v", two.PrimaryRoutes)
		}
		return nil
	})
	st.SameAsFresh(t, "failover")
}

func TestSubnetRoutesFollowThePolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.s.MustSetPolicy(t, `{`+owners+`, "acls": [{"action": "accept", "src": ["alice@"], "dst": ["10.33.0.0/16:*", "web:*"]}, {"action": "accept", "src": ["bob@"], "dst": ["tag:web:22"]}], "hosts": {"web": "`+w.streams["web"].View().V4().String()+`"}}`)
	router := w.nodes["web"]
	router.Host.RoutableIPs = prefixes("10.33.0.0/16")
	router.Update()
	w.s.ApproveRoutes(router.ID(), "10.33.0.0/16")
	sees(t, w.streams["alice1"], "web", "the route for alice", []string{"10.33.0.0/16"}, []string{"10.33.0.0/16"})
	w.streams["bob"].Wait(t, "the router", updateTimeout, func(v *harness.View) bool { _, ok := v.Peer("web"); return ok })
	w.allFresh(t, "filtered routes")
	if p, _ := w.streams["bob"].View().Peer("web"); len(routes(p)) != 0 {
		t.Errorf("bob, who has no access by the policy, has %v", routes(p))
	}
}

func TestAutoApprovers(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	s.CreateUser("alice")
	base := `"tagOwners": {"tag:router": ["alice@"]}, "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]`
	s.MustSetPolicy(t, `{`+base+`, "autoApprovers": {"routes": {"10.0.0.0/8": ["tag:router"]}, "exitNode": ["tag:router"]}}`)
	alice := s.Users()[0]
	viewer := s.NewNode(t, "viewer")
	untagged := s.CreateKey(harness.Key{User: alice, Reusable: true}).Key
	st := viewer.Join(untagged)
	tagged := s.CreateKey(harness.Key{Reusable: true, Tags: []string{"tag:router"}}).Key

	t.Run("on registration", func(t *testing.T) {
		n := s.NewNode(t, "early")
		n.Host.RoutableIPs = prefixes("10.1.0.0/16", "0.0.0.0/0", "::/0", "192.168.0.0/24")
		n.Join(tagged)
		sees(t, st, "early", "auto-approved", []string{"0.0.0.0/0", "10.1.0.0/16", "::/0"}, []string{"10.1.0.0/16"})
	})
	t.Run("on advertisement", func(t *testing.T) {
		n := s.NewNode(t, "later")
		n.Join(tagged)
		n.Host.RoutableIPs = prefixes("10.2.0.0/16")
		n.Update()
		sees(t, st, "later", "auto-approved", []string{"10.2.0.0/16"}, []string{"10.2.0.0/16"})
	})
	t.Run("on tagging by an administrator", func(t *testing.T) {
		n := s.NewNode(t, "totag")
		n.Host.RoutableIPs = prefixes("10.3.0.0/16")
		n.Join(untagged)
		sees(t, st, "totag", "not approved", nil, nil)
		if err := s.TagNode(n.ID(), "tag:router"); err != nil {
			t.Fatal(err)
		}
		sees(t, st, "totag", "auto-approved", []string{"10.3.0.0/16"}, []string{"10.3.0.0/16"})
	})
	t.Run("on a policy change", func(t *testing.T) {
		n := s.NewNode(t, "bypolicy")
		n.Host.RoutableIPs = prefixes("192.168.7.0/24")
		n.Join(tagged)
		sees(t, st, "bypolicy", "not approved", nil, nil)
		s.MustSetPolicy(t, `{`+base+`, "autoApprovers": {"routes": {"192.168.0.0/16": ["tag:router"]}}}`)
		sees(t, st, "bypolicy", "auto-approved", []string{"192.168.7.0/24"}, []string{"192.168.7.0/24"})
		// A narrower policy does not revoke approvals.
		sees(t, st, "later", "still approved", []string{"10.2.0.0/16"}, []string{"10.2.0.0/16"})
	})
	st.SameAsFresh(t, "auto approval")
}

// TestRoutesSurvive checks that approvals survive logout, login and restart.
func TestRoutesSurvive(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	st := s.NewNode(t, "viewer").Join(authKey)
	n := s.NewNode(t, "router")
	n.Host.RoutableIPs = prefixes("10.5.0.0/16")
	n.Join(authKey)
	s.ApproveRoutes(n.ID(), "10.5.0.0/16")
	want := []string{"10.5.0.0/16"}
	sees(t, st, "router", "approved", want, want)
	n.Logout()
	n.Rotate()
	n.Join(authKey)
	sees(t, st, "router", "approved after login", want, want)
	s.Kill()
	s.Restart(t)
	if got := s.MustNode(n.ID()).ApprovedRoutes; !slices.Equal(got, want) {
		t.Errorf("after a restart %v", got)
	}
}
