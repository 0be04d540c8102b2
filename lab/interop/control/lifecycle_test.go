package control

import (
	"slices"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/tailcfg"
)

func past(at time.Time) bool { return !at.IsZero() && at.Before(time.Now()) }

func TestKeyRotationKeepsTheNode(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	aStream := a.Join(authKey)
	b.Join(authKey)
	before, _ := b.APINode()
	oldKey := b.Key
	b.Rotate()
	b.Register(authKey)
	after, ok := b.APINode()
	if !ok || after.ID != before.ID || !slices.Equal(after.IPAddresses, before.IPAddresses) || after.GivenName != before.GivenName {
		t.Fatalf("before %+v, after %+v", before, after)
	}
	b.Stream()
	aStream.Wait(t, "b's new key", updateTimeout, func(v *harness.View) bool { return v.Sees(b) })
	if n := len(aStream.View().Peers); n != 1 {
		t.Errorf("%d peers after a rotation", n)
	}
	aStream.SameAsFresh(t, "rotation")
	newKey := b.Key
	b.Key = oldKey
	if st, err := b.OpenStream(b.MapRequest()); err == nil {
		st.Await(2*time.Second, func(v *harness.View) bool { return v.Self != nil })
		if v := st.View(); v.Self != nil && !past(v.Self.KeyExpiry) {
			t.Error("the old key can still poll")
		}
	}
	b.Key = newKey
	// A client sends its old key with every later registration. That is not another rotation.
	b.Register(authKey)
	if again, _ := b.APINode(); again.ID != before.ID || len(s.Nodes()) != 2 {
		t.Errorf("registered again: id %s, %d nodes", again.ID, len(s.Nodes()))
	}
}

func TestInteractiveKeyRotationKeepsTheNode(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	n := s.NewNode(t, "n")
	n.Join(authKey)
	before, _ := n.APINode()
	n.Rotate()
	url := ask(t, n)
	out := follow(t, n, url)
	if err := s.RegisterAuth(harness.AuthID(url), "alice"); err != nil {
		t.Fatal(err)
	}
	if err := within(t, out).success(); err != nil {
		t.Fatal(err)
	}
	after, ok := n.APINode()
	if !ok || after.ID != before.ID || !slices.Equal(after.IPAddresses, before.IPAddresses) {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestLogoutExpiresTheNodeUntilLogin(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	aStream := a.Join(authKey)
	b.Join(authKey)
	before, _ := b.APINode()
	b.Logout()
	out := s.MustNode(before.ID)
	if out.Expiry == nil || !past(*out.Expiry) {
		t.Errorf("the API shows expiry %v after a logout", out.Expiry)
	}
	aStream.Wait(t, "b expired or removed", 15*time.Second, func(v *harness.View) bool {
		p, ok := v.PeerKey(b.Key.Public())
		return !ok || p.Expired || past(p.KeyExpiry)
	})
	aStream.SameAsFresh(t, "logout")
	b.Rotate()
	b.Register(authKey)
	after, ok := b.APINode()
	if !ok || after.ID != before.ID || !slices.Equal(after.IPAddresses, before.IPAddresses) {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if after.Expiry != nil && past(*after.Expiry) {
		t.Error("still expired after login")
	}
	b.Stream()
	aStream.Wait(t, "b valid again", updateTimeout, func(v *harness.View) bool {
		p, ok := v.PeerKey(b.Key.Public())
		return ok && !p.Expired && !past(p.KeyExpiry) && p.Online != nil && *p.Online
	})
	aStream.SameAsFresh(t, "login again")
}

// TestLoginAsAnotherUserCreatesAnotherNode covers clients with and without a new node key. Official clients create one before they log
// in again, but others need not.
func TestLoginAsAnotherUserCreatesAnotherNode(t *testing.T) {
	t.Parallel()
	for name, rotates := range map[string]bool{"new node key": true, "same node key": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t)
			alice := s.ReusableKey("alice")
			viewer, n := s.NewNode(t, "viewer"), s.NewNode(t, "shared")
			st := viewer.Join(alice)
			n.Join(alice).Close()
			first, _ := n.APINode()
			n.Logout()
			if rotates {
				n.Rotate()
			}
			n.Join(s.ReusableKey("bob"))
			second, ok := n.APINode()
			if !ok || second.ID == first.ID || second.User == nil || second.User.Name != "bob" {
				t.Errorf("first %+v, second %+v", first, second)
			}
			kept, err := s.Node(first.ID)
			if err != nil || kept.User == nil || kept.User.Name != "alice" || kept.IPAddresses[0] == second.IPAddresses[0] {
				t.Errorf("alice's node: %+v %v", kept, err)
			}
			st.Wait(t, "both nodes, one of them valid", updateTimeout, func(v *harness.View) bool {
				p, ok := v.PeerKey(n.Key.Public())
				return ok && !p.Expired && p.Online != nil && *p.Online && len(v.PeerNames()) == 2
			})
			st.SameAsFresh(t, "another user")
		})
	}
}

func TestLogoutDeletesEphemeralNode(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	alice := s.CreateUser("alice")
	viewer := s.NewNode(t, "viewer")
	st := viewer.Join(s.CreateKey(harness.Key{User: alice, Reusable: true}).Key)
	n := s.NewNode(t, "brief")
	n.Join(s.CreateKey(harness.Key{User: alice, Ephemeral: true}).Key)
	st.Wait(t, "the ephemeral node", updateTimeout, func(v *harness.View) bool { return v.Sees(n) })
	id := n.ID()
	n.Logout()
	if _, err := s.Node(id); err == nil {
		t.Error("an ephemeral node was not deleted by its logout")
	}
	st.Wait(t, "its removal", 3*time.Second, func(v *harness.View) bool { return !v.Sees(n) })
}

func TestExpiryReachesNodeAndPeers(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	aStream, bStream := a.Join(authKey), b.Join(authKey)
	id := b.ID()
	told := func(what string, ok func(time.Time) bool) {
		t.Helper()
		aStream.Wait(t, what+" of the peer", updateTimeout, func(v *harness.View) bool {
			p, there := v.Peer("b")
			return there && ok(p.KeyExpiry)
		})
		bStream.Wait(t, what+" of itself", updateTimeout, func(v *harness.View) bool { return ok(v.Self.KeyExpiry) })
		aStream.SameAsFresh(t, what)
	}
	ahead := time.Now().Add(2 * time.Hour).Truncate(time.Second)
	s.ExpireNode(id, ahead)
	told("expiry ahead", func(at time.Time) bool { return at.Equal(ahead) })
	if got := s.MustNode(id).Expiry; got == nil || !got.Equal(ahead) {
		t.Errorf("the API shows %v", got)
	}
	s.NeverExpire(id)
	told("no expiry", func(at time.Time) bool { return at.IsZero() })
	if got := s.MustNode(id).Expiry; got != nil {
		t.Errorf("the API shows %v", got)
	}
	s.ExpireNode(id, time.Time{})
	told("expiry now", past)

	t.Run("relogin", func(t *testing.T) {
		// An expired node may poll to learn that it is expired.
		st := b.Stream()
		if !past(st.View().Self.KeyExpiry) {
			t.Error("an expired node's own map does not say that it is expired")
		}
		req := b.RegisterRequest()
		res, err := b.Send(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if !res.NodeKeyExpired && res.AuthURL == "" {
			t.Errorf("an expired node registered without credentials: %+v", res)
		}
		b.Rotate()
		b.Register(authKey)
		if b.ID() != id {
			t.Errorf("id %s, then %s", id, b.ID())
		}
		b.Stream()
		aStream.Wait(t, "b valid again", updateTimeout, func(v *harness.View) bool {
			p, ok := v.PeerKey(b.Key.Public())
			return ok && !past(p.KeyExpiry) && !p.Expired
		})
	})
}

func TestExpiredNodeLearnsAndReportsNothingUntilLogin(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	aStream, bStream := a.Join(authKey), b.Join(authKey)
	id := b.ID()
	s.ExpireNode(id, time.Time{})
	bStream.Wait(t, "its own expiry, and no peers", updateTimeout, func(v *harness.View) bool {
		return past(v.Self.KeyExpiry) && len(v.Peers) == 0
	})
	bStream.SameAsFresh(t, "expiry")
	if v := b.Fresh(); len(v.Peers) != 0 || len(v.DNS.Domains) != 0 || len(v.DNS.Routes) != 0 {
		t.Errorf("an expired node is sent %d peers, DNS settings %+v", len(v.Peers), v.DNS)
	}
	c := s.NewNode(t, "c")
	c.Join(authKey)
	aStream.Wait(t, "the newcomer", updateTimeout, func(v *harness.View) bool { return v.Sees(c) })
	if bStream.View().Sees(c) {
		t.Error("an expired node is sent a new peer")
	}
	b.Host.Hostname = "printer"
	if err := b.TryUpdate(); err == nil {
		t.Error("an expired node may update itself")
	}
	if got := s.MustNode(id).GivenName; got != "b" {
		t.Errorf("an expired node is now called %q", got)
	}
	s.NeverExpire(id)
	bStream.Wait(t, "its peers", updateTimeout, func(v *harness.View) bool { return v.Sees(a) && v.Sees(c) })
	bStream.SameAsFresh(t, "valid again")
	b.Update()
}

func TestPassingExpiryIsAnnounced(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	aStream, bStream := a.Join(authKey), b.Join(authKey)
	at := time.Now().Add(2 * time.Second)
	s.ExpireNode(b.ID(), at)
	aStream.Wait(t, "the expiry ahead", updateTimeout, func(v *harness.View) bool {
		p, ok := v.Peer("b")
		return ok && !p.KeyExpiry.IsZero()
	})
	// The server announces it when it passes, instead of relying on the clients' clocks.
	f := aStream.WaitFrame(t, "the expired peer", 10*time.Second, func(f *harness.Frame) bool {
		return f.At.After(at) && mentions(f.Resp, b)
	})
	t.Logf("announced %v after it passed", f.At.Sub(at))
	bStream.WaitFrame(t, "its own expiry", 10*time.Second, func(f *harness.Frame) bool {
		return f.At.After(at) && f.Resp.Node != nil && past(f.Resp.Node.KeyExpiry)
	})
	aStream.SameAsFresh(t, "expiry passed")
}

func mentions(r *tailcfg.MapResponse, n *harness.Node) bool {
	for _, p := range r.PeersChanged {
		if p.Key == n.Key.Public() && (p.Expired || past(p.KeyExpiry)) {
			return true
		}
	}
	for _, c := range r.PeersChangedPatch {
		if c.KeyExpiry != nil && past(*c.KeyExpiry) {
			return true
		}
	}
	return false
}

func TestClientsCanOnlyShortenTheirExpiry(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Set("node.expiry", "48h"))
	n := s.NewNode(t, "n")
	n.Join(s.ReusableKey("alice"))
	before, _ := n.APINode()
	if before.Expiry == nil || time.Until(*before.Expiry) < 47*time.Hour || time.Until(*before.Expiry) > 49*time.Hour {
		t.Fatalf("node.expiry 48h gives %v", before.Expiry)
	}
	ask := func(at time.Time) time.Time {
		req := n.RegisterRequest()
		req.Expiry = at.UTC()
		if _, err := n.Send(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		after, _ := n.APINode()
		return *after.Expiry
	}
	sooner := time.Now().Add(time.Hour).Truncate(time.Second)
	if got := ask(sooner); !got.Equal(sooner) {
		t.Errorf("the node requested the earlier expiry %v and has %v", sooner, got)
	}
	if got := ask(time.Now().Add(1000 * time.Hour)); !got.Equal(sooner) {
		t.Errorf("the node extended the expiry of its key: %v", got)
	}
}

func TestEphemeralNodeIsDeletedAfterItsTimeout(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	alice := s.CreateUser("alice")
	ephemeral := s.CreateKey(harness.Key{User: alice, Reusable: true, Ephemeral: true}).Key
	viewer := s.NewNode(t, "viewer")
	st := viewer.Join(s.CreateKey(harness.Key{User: alice, Reusable: true}).Key)

	stays, returns, leaves := s.NewNode(t, "stays"), s.NewNode(t, "returns"), s.NewNode(t, "leaves")
	stays.Join(ephemeral)
	returnsStream := returns.Join(ephemeral)
	leavesStream := leaves.Join(ephemeral)
	st.Wait(t, "all three", updateTimeout, func(v *harness.View) bool { return v.Sees(stays, returns, leaves) })
	left := time.Now()
	leavesStream.Close()
	returnsStream.Close()
	// One of them reconnects well within the timeout.
	<-time.After(harness.EphemeralTimeout / 2)
	returns.Stream()
	f := st.WaitFrame(t, "removal of the one that left", offlineTimeout, func(f *harness.Frame) bool { return len(f.Resp.PeersRemoved) > 0 })
	if after := f.At.Sub(left); after < harness.EphemeralTimeout {
		t.Errorf("removed after %v, before its timeout of %v", after, harness.EphemeralTimeout)
	} else {
		t.Logf("removed %v after the disconnect", after)
	}
	if _, ok := leaves.APINode(); ok {
		t.Error("the API still shows the node")
	}
	harness.Holds(t, harness.EphemeralTimeout, "the others stay", func() error {
		if !st.View().Sees(stays, returns) {
			return harness.Errorf("peers %v", st.View().PeerNames())
		}
		return nil
	})
	st.SameAsFresh(t, "ephemeral")
}

// TestEphemeralNodeThatReturnsTooLateMustLogIn checks that such a client is told to log in again.
func TestEphemeralNodeThatReturnsTooLateMustLogIn(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	n := s.NewNode(t, "late")
	n.Join(s.CreateKey(harness.Key{User: s.CreateUser("alice"), Ephemeral: true}).Key).Close()
	harness.Eventually(t, harness.EphemeralTimeout+offlineTimeout, "the deletion of the node", func() error {
		if _, ok := n.APINode(); ok {
			return harness.Errorf("it still exists")
		}
		return nil
	})
	again, err := n.OpenStream(n.MapRequest())
	if err != nil {
		t.Fatal(err)
	}
	again.Await(updateTimeout, func(v *harness.View) bool { return v.Self != nil })
	if self := again.View().Self; self == nil || !past(self.KeyExpiry) {
		t.Errorf("its client receives %+v, want itself as expired", self)
	}
}

// TestEphemeralNodeThatNeverConnectsIsDeleted covers a node that registers and never connects, also across a restart.
func TestEphemeralNodeThatNeverConnectsIsDeleted(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	key := s.CreateKey(harness.Key{User: s.CreateUser("alice"), Reusable: true, Ephemeral: true}).Key
	n := s.NewNode(t, "silent")
	n.Register(key)
	s.Kill()
	s.Restart(t)
	harness.Eventually(t, harness.EphemeralTimeout+15*time.Second, "the deletion of the silent node", func() error {
		if nodes := s.Nodes(); len(nodes) != 0 {
			return harness.Errorf("%d nodes", len(nodes))
		}
		return nil
	})
}

// TestClientCanAskToBeEphemeral covers a client that itself requests to be ephemeral (`--state=mem:`), which Headscale ignores.
func TestClientCanAskToBeEphemeral(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	n := s.NewNode(t, "memory")
	req := n.RegisterRequest()
	req.Ephemeral = true
	req.Auth = &tailcfg.RegisterResponseAuth{AuthKey: s.ReusableKey("alice")}
	if res, err := n.Send(t.Context(), req); err != nil || harness.Refusal(res) != nil {
		t.Fatalf("%+v %v", res, err)
	}
	n.Stream().Close()
	harness.Eventually(t, harness.EphemeralTimeout+offlineTimeout, "the deletion of the node", func() error {
		if _, ok := n.APINode(); ok {
			return harness.Errorf("it still exists")
		}
		return nil
	})
}

// TestPresenceReconnects covers a node that repeatedly drops its connection and reconnects at once. It must never appear offline.
func TestPresenceReconnects(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	aStream := a.Join(authKey)
	b.Join(authKey)
	aStream.Wait(t, "b online", updateTimeout, func(v *harness.View) bool {
		p, ok := v.Peer("b")
		return ok && p.Online != nil && *p.Online
	})
	mark := len(aStream.Frames())
	for range 10 {
		b.Close()
		b.Stream()
	}
	for _, f := range aStream.Frames()[mark:] {
		if tellsOffline(f.Resp, b) {
			t.Errorf("received as offline: %s", f.JSON)
		}
	}
	if n, _ := b.APINode(); !n.Online {
		t.Error("the API shows it as offline")
	}
}
