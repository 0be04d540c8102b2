package control

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/tailcfg"
	"tailscale.com/types/netmap"
)

// updateTimeout is how long a change may take to reach a viewer in tests that do not measure it.
const updateTimeout = 10 * time.Second

// offlineTimeout is how long a disconnected node may still appear online: the grace period and some margin.
const offlineTimeout = 30 * time.Second

func endpoints(list ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, e := range list {
		out = append(out, netip.MustParseAddrPort(e))
	}
	return out
}

func hasEndpoint(p *tailcfg.Node, want string) bool {
	for _, e := range p.Endpoints {
		if e.String() == want {
			return true
		}
	}
	return false
}

// TestDeltasAddUpToFreshMap takes a mesh through the life of a node. After every phase, the maps that the strict view and the official
// client's map session have built from deltas must equal a fresh full map.
func TestDeltasAddUpToFreshMap(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	a := s.NewNode(t, "a")
	aStream := a.Join(authKey)
	official := s.NewDirect(t, "official", authKey)
	official.Join(t)
	twin := official.Twin(t, s)

	b := s.NewNode(t, "b")
	b.Endpoints = endpoints("192.0.2.7:1111")
	bStream := b.Join(authKey)
	phase := func(name string, ok func(*harness.View) bool) {
		t.Helper()
		aStream.Wait(t, name, offlineTimeout, ok)
		aStream.SameAsFresh(t, name)
		official.SameAsFresh(t, twin, name)
	}
	peer := func(check func(*tailcfg.Node) bool) func(*harness.View) bool {
		return func(v *harness.View) bool {
			p, ok := v.PeerKey(b.Key.Public())
			return ok && check(p)
		}
	}
	phase("join", peer(func(p *tailcfg.Node) bool { return hasEndpoint(p, "192.0.2.7:1111") }))
	joined, _ := aStream.AwaitFrame(0, time.Second, func(f *harness.Frame) bool { return bytes.Contains(f.JSON, []byte(b.Key.Public().String())) })
	if joined == nil || len(joined.Resp.PeersChanged) != 1 || len(joined.Resp.Peers) != 0 {
		t.Error("a join does not arrive as one changed peer")
	}

	b.Endpoints = endpoints("192.0.2.8:2222", "[2001:db8::1]:3333")
	b.Update()
	phase("endpoints", peer(func(p *tailcfg.Node) bool { return hasEndpoint(p, "192.0.2.8:2222") && len(p.Endpoints) == 2 }))
	b.Endpoints = nil
	b.Update()
	phase("no endpoints", peer(func(p *tailcfg.Node) bool { return len(p.Endpoints) == 0 }))
	b.Host.NetInfo.PreferredDERP = 42
	b.Update()
	phase("DERP home", peer(func(p *tailcfg.Node) bool { return p.HomeDERP == 42 }))
	b.Host.Services = append(b.Host.Services, tailcfg.Service{Proto: tailcfg.PeerAPIDNS, Port: 1})
	b.Update()
	phase("host info", peer(func(p *tailcfg.Node) bool { return p.Hostinfo.Services().Len() == 3 }))

	bStream.Close()
	phase("away", peer(func(p *tailcfg.Node) bool { return p.Online != nil && !*p.Online }))
	bStream = b.Stream()
	phase("back", peer(func(p *tailcfg.Node) bool { return p.Online != nil && *p.Online }))

	id := b.ID()
	if err := s.RenameNode(id, "renamed"); err != nil {
		t.Fatal(err)
	}
	phase("rename", peer(func(p *tailcfg.Node) bool { return strings.HasPrefix(p.Name, "renamed.") }))
	s.ExpireNode(id, time.Now().Add(time.Hour))
	phase("expiry ahead", peer(func(p *tailcfg.Node) bool { return !p.KeyExpiry.IsZero() }))
	s.NeverExpire(id)
	phase("no expiry", peer(func(p *tailcfg.Node) bool { return p.KeyExpiry.IsZero() }))
	s.ExpireNode(id, time.Time{})
	phase("expired", peer(func(p *tailcfg.Node) bool { return !p.KeyExpiry.IsZero() && p.KeyExpiry.Before(time.Now()) }))
	b.Rotate()
	b.Register(authKey)
	bStream = b.Stream()
	b.Update()
	phase("new key", peer(func(p *tailcfg.Node) bool { return p.DiscoKey == b.Disco.Public() }))
	s.DeleteNode(id)
	phase("deleted", func(v *harness.View) bool { return !v.Sees(b) })
	_ = bStream
}

func TestSmallChangesTravelAsPatches(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	b := s.NewNode(t, "b")
	b.Endpoints = endpoints("192.0.2.7:1111")
	bStream := b.Join(authKey)
	a := s.NewNode(t, "a")
	aStream := a.Join(authKey)
	bStream.Wait(t, "a", updateTimeout, func(v *harness.View) bool { return v.Sees(a) })

	// patched waits for the frame with the change, which must contain only a patch.
	patched := func(what string, limit time.Duration, change func(), ok func(*tailcfg.PeerChange) bool) {
		t.Helper()
		mark := len(aStream.Frames())
		change()
		f, err := aStream.AwaitFrame(mark, limit, func(f *harness.Frame) bool { return !f.Resp.KeepAlive })
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		r := f.Resp
		if len(r.PeersChangedPatch) != 1 || !ok(r.PeersChangedPatch[0]) || len(r.Peers)+len(r.PeersChanged) != 0 || r.Node != nil {
			t.Errorf("%s arrives as %s", what, f.JSON)
		}
	}
	patched("endpoint", updateTimeout, func() {
		b.Endpoints = endpoints("192.0.2.9:9")
		b.Update()
	}, func(c *tailcfg.PeerChange) bool { return len(c.Endpoints) == 1 && c.DERPRegion == 0 })
	patched("DERP home", updateTimeout, func() {
		b.Host.NetInfo.PreferredDERP = 7
		b.Update()
	}, func(c *tailcfg.PeerChange) bool { return c.DERPRegion == 7 })
	patched("offline", offlineTimeout, bStream.Close, func(c *tailcfg.PeerChange) bool {
		return c.Online != nil && !*c.Online && c.LastSeen != nil
	})
	patched("online", updateTimeout, func() { b.Stream() }, func(c *tailcfg.PeerChange) bool { return c.Online != nil && *c.Online })
}

func TestOfficialClientSeesLastSeenOfOfflinePeer(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	b := s.NewNode(t, "b")
	bStream := b.Join(authKey)
	official := s.NewDirect(t, "official", authKey)
	official.Join(t)
	twin := official.Twin(t, s)
	official.Wait(t, "b online", func(nm *netmap.NetworkMap) bool {
		p, ok := harness.Peer(nm, "b")
		return ok && p.Online().Get()
	})
	bStream.Close()
	harness.Eventually(t, offlineTimeout, "b offline with the LastSeen of a fresh map", func() error {
		p, _ := harness.Peer(official.Netmap(), "b")
		if p.Online().Get() {
			return harness.Errorf("still online")
		}
		told, ok := p.LastSeen().GetOk()
		if !ok {
			return harness.Errorf("no LastSeen")
		}
		fresh, _ := twin.Fresh().Peer("b")
		if fresh == nil || fresh.LastSeen == nil || !fresh.LastSeen.Equal(told) {
			return harness.Errorf("told %v, fresh %v", told, fresh.LastSeen)
		}
		return nil
	})
}

func TestLiteUpdateReachesPeersAndKeepsTheStream(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	aStream, bStream := a.Join(authKey), b.Join(authKey)
	b.Endpoints = endpoints("192.0.2.1:1")
	b.Update()
	aStream.Wait(t, "b's endpoint", updateTimeout, func(v *harness.View) bool {
		p, ok := v.Peer("b")
		return ok && hasEndpoint(p, "192.0.2.1:1")
	})
	if err, ended := bStream.Ended(); ended {
		t.Errorf("a lite update ended the stream: %v", err)
	}

	t.Run("netinfo-kept", func(t *testing.T) {
		b.Host.NetInfo = nil
		b.Host.OSVersion = "newer"
		b.Update()
		aStream.SameAsFresh(t, "update without NetInfo")
		if p, ok := a.Fresh().Peer("b"); !ok || p.HomeDERP != harness.DERPRegion {
			t.Errorf("the home relay was lost: %+v", p)
		}
	})
	t.Run("case", func(t *testing.T) {
		body := `{"version":` + "130" + `,"NODEKEY":"` + b.Key.Public().String() + `","discokey":"` + b.Disco.Public().String() +
			`","omitPeers":true,"whoKnows":{"x":[1]},"endPoints":["192.0.2.2:2"],"endpointtypes":[1],` +
			`"HostInfo":{"hostName":"b","Os":"linux","IpnVersion":"x","NetInfo":{"PreferredDerp":5}}}`
		status, answer, err := b.Call("POST", "/machine/map", []byte(body))
		if err != nil || status != http.StatusOK {
			t.Fatalf("%d %s %v", status, answer, err)
		}
		aStream.Wait(t, "field names in any case", updateTimeout, func(v *harness.View) bool {
			p, ok := v.Peer("b")
			return ok && p.HomeDERP == 5 && hasEndpoint(p, "192.0.2.2:2")
		})
	})
}

func TestStreamRequestDoesNotOverwriteNewerUpdate(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	aStream := a.Join(authKey)
	b.Endpoints = endpoints("192.0.2.1:1")
	b.Join(authKey).Close()
	stale := b.MapRequest()
	b.Endpoints = endpoints("192.0.2.2:2")
	b.Host.Services = nil
	b.Update()
	st, err := b.OpenStream(stale)
	if err != nil {
		t.Fatal(err)
	}
	st.Wait(t, "first map", updateTimeout, func(v *harness.View) bool { return v.Self != nil })
	fresh, _ := a.Fresh().Peer("b")
	if !hasEndpoint(fresh, "192.0.2.2:2") || hasEndpoint(fresh, "192.0.2.1:1") || fresh.Hostinfo.Services().Len() != 0 {
		t.Errorf("the stream request restored older data: %v", fresh)
	}
	aStream.SameAsFresh(t, "stale stream")
}

func TestZstdIsUsedWhenRequested(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	for _, name := range []string{"p1", "p2", "p3"} {
		s.NewNode(t, name).Join(authKey)
	}
	n := s.NewNode(t, "n")
	n.Join(authKey)
	full := func(compress string) (*harness.View, int) {
		req := n.MapRequest()
		req.Stream, req.Compress = false, compress
		st, err := n.OpenStream(req)
		if err != nil {
			t.Fatal(err)
		}
		<-st.Done()
		size := 0
		for _, f := range st.Frames() {
			size += len(f.Wire)
		}
		return st.View(), size
	}
	plain, plainSize := full("")
	packed, packedSize := full("zstd")
	if err := plain.Differs(packed); err != nil {
		t.Error(err)
	}
	if packedSize >= plainSize {
		t.Errorf("zstd %d bytes, plain %d", packedSize, plainSize)
	}
	t.Logf("zstd %d of %d bytes", packedSize, plainSize)
}

func TestOneShotAndReadOnlyMapsChangeNothing(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	aStream := a.Join(authKey)
	bStream := b.Join(authKey)
	aStream.Wait(t, "b", updateTimeout, func(v *harness.View) bool { return v.Sees(b) })
	if fresh := b.Fresh(); !fresh.Sees(a) { // fails the test unless the response is one full map
		t.Errorf("one-shot map: %s", fresh.Brief())
	}
	if err, ended := bStream.Ended(); ended {
		t.Errorf("a one-shot map ended the stream: %v", err)
	}

	before := a.Fresh()
	b.Endpoints = endpoints("192.0.2.66:66")
	b.Host.Hostname = "changed"
	for _, stream := range []bool{false, true} {
		req := b.MapRequest()
		req.ReadOnly, req.Stream, req.OmitPeers = true, stream, !stream
		st, err := b.OpenStream(req)
		if err != nil {
			t.Fatalf("read-only, stream %v: %v", stream, err)
		}
		if stream {
			st.Wait(t, "first map", updateTimeout, func(v *harness.View) bool { return v.Self != nil })
			st.Close()
		} else {
			<-st.Done()
		}
	}
	if err := before.Differs(a.Fresh()); err != nil {
		t.Errorf("ReadOnly changed something: %v", err)
	}
}

func TestNewerStreamSupersedesOlder(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	aStream := a.Join(authKey)
	older := b.Join(authKey)
	aStream.Wait(t, "b online", updateTimeout, func(v *harness.View) bool {
		p, ok := v.Peer("b")
		return ok && p.Online != nil && *p.Online
	})
	mark := len(aStream.Frames())
	newer := b.Stream()
	select {
	case <-older.Done():
	case <-time.After(5 * time.Second):
		t.Error("the older stream is still open beside the newer one")
	}
	older.Close()
	c := s.NewNode(t, "c")
	c.Register(authKey)
	newer.Wait(t, "c", updateTimeout, func(v *harness.View) bool { return v.Sees(c) })
	// Any grace period has passed by the end of this.
	harness.Holds(t, 12*time.Second, "b stays online", func() error {
		for _, f := range aStream.Frames()[mark:] {
			if tellsOffline(f.Resp, b) {
				return harness.Errorf("received as offline: %s", f.JSON)
			}
		}
		return nil
	})
}

func tellsOffline(r *tailcfg.MapResponse, n *harness.Node) bool {
	for _, p := range r.PeersChanged {
		if p.Key == n.Key.Public() && p.Online != nil && !*p.Online {
			return true
		}
	}
	for _, c := range r.PeersChangedPatch {
		if c.Online != nil && !*c.Online {
			return true
		}
	}
	for _, online := range r.OnlineChange {
		if !online {
			return true
		}
	}
	return false
}

func TestUnregisteredNodeKeyIsRefused(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	n := s.NewNode(t, "stranger")
	if st, err := n.OpenStream(n.MapRequest()); err == nil {
		if st.Await(2*time.Second, func(v *harness.View) bool { return v.Self != nil }) == nil {
			t.Error("an unregistered node key got a map")
		}
	} else if !harness.IsClientError(err) {
		t.Errorf("unregistered node key: %v, want a client error", err)
	}
	if err := n.TryUpdate(); !strings.Contains(errText(err), "http 4") {
		t.Errorf("lite update of an unregistered node key: %v", err)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestDeletedNodeStaysDeletedUntilItRegisters(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	n := s.NewNode(t, "n")
	st := n.Join(authKey)
	s.DeleteNode(n.ID())
	err := st.Await(updateTimeout, func(v *harness.View) bool {
		return !v.Self.KeyExpiry.IsZero() && v.Self.KeyExpiry.Before(time.Now())
	})
	if err != nil && !strings.Contains(err.Error(), "stream ended") {
		t.Errorf("the deleted node's stream stays open without an update: %v", err)
	}
	// It stays deleted when it polls again, and may register again with a key.
	if again, err := n.OpenStream(n.MapRequest()); err == nil {
		again.Await(2*time.Second, func(v *harness.View) bool { return v.Self != nil })
		if v := again.View(); v.Self != nil && (v.Self.KeyExpiry.IsZero() || v.Self.KeyExpiry.After(time.Now())) {
			t.Error("a deleted node can still poll")
		}
	}
	if _, ok := n.APINode(); ok {
		t.Error("the deleted node exists again")
	}
	n.Rotate()
	n.Register(authKey)
	n.Stream()
}

func TestKeepAlives(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	n := s.NewNode(t, "idle")
	st := n.Join(s.ReusableKey("alice"))
	begin := time.Now()
	var alive []*harness.Frame
	for len(alive) < 2 {
		f, err := st.AwaitFrame(0, 70*time.Second, func(f *harness.Frame) bool {
			return f.Resp.KeepAlive && (len(alive) == 0 || f.At.After(alive[len(alive)-1].At))
		})
		if err != nil {
			t.Fatal(err)
		}
		if gap := f.At.Sub(begin); gap > 65*time.Second {
			t.Errorf("gap of %v", gap)
		}
		begin = f.At
		alive = append(alive, f)
	}
	if !bytes.Equal(alive[0].Wire, alive[1].Wire) {
		t.Errorf("keep-alives differ: %q, %q", alive[0].Wire, alive[1].Wire)
	}
	var fields map[string]any
	if json.Unmarshal(alive[0].JSON, &fields); len(fields) != 1 {
		t.Errorf("keep-alive is %s", alive[0].JSON)
	}
}
