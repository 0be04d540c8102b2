package control

import (
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/tailcfg"
)

// TestQuiet checks that changes which do not concern peers send them nothing, not even an empty frame.
func TestQuiet(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	aStream := a.Join(authKey)
	b.Endpoints = endpoints("192.0.2.1:1")
	b.Join(authKey)
	aStream.Wait(t, "b", updateTimeout, func(v *harness.View) bool {
		p, ok := v.Peer("b")
		return ok && hasEndpoint(p, "192.0.2.1:1")
	})
	aStream.SameAsFresh(t, "settled")
	mark := len(aStream.Frames())
	changes := map[string]func(){
		"the same again":       func() {},
		"latencies":            func() { b.Host.NetInfo.DERPLatency = map[string]float64{"999-v4": 0.01} },
		"log id":               func() { b.Host.BackendLogID = "another" },
		"push token":           func() { b.Host.PushDeviceToken = "token" },
		"client version":       func() { b.Host.IPNVersion = "9.9.9" },
		"registered once more": func() { b.Register(authKey) },
	}
	for name, change := range changes {
		change()
		b.Update()
		if told := len(aStream.Frames()) - mark; told != 0 {
			t.Logf("%s: told %s", name, aStream.Frames()[mark].JSON)
		}
	}
	// The first frame that the peer receives must be for a relevant change, which is sent last.
	b.Endpoints = endpoints("192.0.2.2:2")
	b.Update()
	f, err := aStream.AwaitFrame(mark, updateTimeout, func(f *harness.Frame) bool { return !f.Resp.KeepAlive })
	if err != nil || len(f.Resp.PeersChangedPatch) != 1 || len(f.Resp.PeersChangedPatch[0].Endpoints) != 1 {
		t.Errorf("first frame: %v %s", err, f.JSON)
	}
}

// TestUserChanges checks that nodes learn of changes to the users who own their peers.
func TestUserChanges(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	alice, bob := s.CreateUser("alice"), s.CreateUser("bob")
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	aStream := a.Join(s.CreateKey(harness.Key{User: alice, Reusable: true}).Key)
	bStream := b.Join(s.CreateKey(harness.Key{User: bob, Reusable: true}).Key)
	aStream.Wait(t, "b", updateTimeout, func(v *harness.View) bool { return v.Sees(b) })
	if err := s.API("POST", "/api/v1/user/"+bob.ID+"/rename/robert", nil, nil); err != nil {
		t.Fatal(err)
	}
	named := func(v *harness.View) bool {
		for _, u := range v.Users {
			if u.LoginName == "robert" {
				return true
			}
		}
		return false
	}
	aStream.Wait(t, "the new name of b's user", updateTimeout, named)
	bStream.Wait(t, "the new name of its own user", updateTimeout, named)
	aStream.SameAsFresh(t, "user renamed")
	bStream.SameAsFresh(t, "user renamed")
	if err := s.API("DELETE", "/api/v1/user/"+bob.ID, nil, nil); !harness.IsClientError(err) {
		t.Errorf("a user with nodes was deleted: %v", err)
	}
	s.DeleteNode(b.ID())
	if err := s.API("DELETE", "/api/v1/user/"+bob.ID, nil, nil); err != nil {
		t.Errorf("a user without nodes: %v", err)
	}
	aStream.SameAsFresh(t, "user deleted")
}

// TestBigNode checks that a node with excessive host info does not make the maps of others large.
func TestBigNode(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	aStream := a.Join(authKey)
	bStream := b.Join(authKey)
	aStream.Wait(t, "b", updateTimeout, func(v *harness.View) bool { return v.Sees(b) })
	mark := len(aStream.Frames())
	for i := range 8000 {
		b.Endpoints = append(b.Endpoints, endpoints("192.0.2.1:1")[0])
		b.Host.Services = append(b.Host.Services, tailcfg.Service{Proto: tailcfg.PeerAPI4, Port: uint16(i)})
	}
	status := b.TryUpdate()
	b.Endpoints, b.Host.Services = endpoints("192.0.2.7:7"), nil
	if err := b.TryUpdate(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	aStream.Wait(t, "the small endpoint list", updateTimeout, func(v *harness.View) bool {
		p, ok := v.Peer("b")
		return ok && len(p.Endpoints) == 1 && hasEndpoint(p, "192.0.2.7:7")
	})
	for _, f := range aStream.Frames()[mark:] {
		if len(f.JSON) > 64<<10 {
			t.Errorf("a frame of %d bytes to a peer (the update itself: %v)", len(f.JSON), status)
		}
	}
	aStream.SameAsFresh(t, "big node")
	if err, ended := bStream.Ended(); ended {
		t.Errorf("its own stream ended: %v", err)
	}
}

// TestManyStreams checks that a node that opens many streams ends up with only one.
func TestManyStreams(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	aStream := a.Join(authKey)
	b.Register(authKey)
	before := s.Memory()
	var streams []*harness.Stream
	for range 100 {
		st, err := b.OpenStream(b.MapRequest())
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, st)
	}
	last := streams[len(streams)-1]
	last.Wait(t, "first map", updateTimeout, func(v *harness.View) bool { return v.Self != nil })
	harness.Eventually(t, 5*time.Second, "all older streams end", func() error {
		open := 0
		for _, st := range streams[:len(streams)-1] {
			if _, ended := st.Ended(); !ended {
				open++
			}
		}
		if open > 0 {
			return harness.Errorf("%d are still open", open)
		}
		return nil
	})
	if grew := (s.Memory() - before) >> 20; grew > 16 {
		t.Errorf("the server grew by %d MiB", grew)
	}
	last.SameAsFresh(t, "last stream")
	aStream.SameAsFresh(t, "peer")
}
