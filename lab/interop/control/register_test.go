package control

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

func TestRegisterResponseIsComplete(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	n := s.NewNode(t, "first")
	req := n.RegisterRequest()
	req.Auth = &tailcfg.RegisterResponseAuth{AuthKey: s.ReusableKey("alice")}
	status, body, err := n.Call("POST", "/machine/register", req)
	if err != nil || status != http.StatusOK {
		t.Fatalf("register: %d %v %s", status, err, body)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"User", "Login", "NodeKeyExpired", "MachineAuthorized", "AuthURL", "NodeKeySignature", "Error"} {
		if _, ok := fields[name]; !ok {
			t.Errorf("the response lacks %s, which tailscale-rs needs: %s", name, body)
		}
	}
	var res tailcfg.RegisterResponse
	if err := json.Unmarshal(body, &res); err != nil {
		t.Fatal(err)
	}
	if err := harness.Refusal(&res); err != nil {
		t.Error(err)
	}
	if res.User.ID == 0 || res.Login.ID == 0 || res.Login.LoginName == "" {
		t.Errorf("user or login incomplete: %s", body)
	}
}

func TestFirstMapIsFull(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	s.NewNode(t, "other").Join(authKey)
	n := s.NewNode(t, "first")
	n.Register(authKey)
	st := n.Stream()
	first := st.Frames()[0]
	r := first.Resp
	self := r.Node
	switch {
	case self == nil:
		t.Fatalf("no self node in the first frame: %.300s", first.JSON)
	case len(self.Addresses) != 2 || !self.Addresses[0].Addr().Is4() || !self.Addresses[1].Addr().Is6():
		t.Errorf("addresses %v, want one v4, then one v6", self.Addresses)
	case self.StableID == "" || self.ID <= 0:
		t.Errorf("ids %d %q", self.ID, self.StableID)
	case self.Name != "first."+harness.BaseDomain+".":
		t.Errorf("name %q", self.Name)
	case !self.MachineAuthorized:
		t.Error("not authorized")
	case self.Key != n.Key.Public() || self.Machine != n.Machine.Public():
		t.Errorf("keys %v %v", self.Key, self.Machine)
	}
	if r.DERPMap == nil || r.DERPMap.Regions[harness.DERPRegion] == nil {
		t.Errorf("DERP map %+v", r.DERPMap)
	}
	if len(r.Peers)+len(r.PeersChanged) != 1 {
		t.Errorf("peers: %d full, %d changed, want one", len(r.Peers), len(r.PeersChanged))
	}
	if r.PacketFilter == nil && len(r.PacketFilters) == 0 {
		t.Error("no packet filter")
	}
	if d := r.DNSConfig; d == nil || !d.Proxied || !slices.Contains(d.Domains, harness.BaseDomain) || !hasRoute(d, harness.BaseDomain) {
		t.Errorf("DNS config %+v", d)
	}
	if len(r.UserProfiles) == 0 || r.Domain == "" || r.ControlTime == nil || r.SSHPolicy == nil {
		t.Errorf("profiles %v, domain %q, control time %v, SSH policy %v", r.UserProfiles, r.Domain, r.ControlTime, r.SSHPolicy)
	}
	for _, bad := range []string{`\u`, `"SrcBits"`, `"Bits"`, `"Peers":null`, `"PacketFilter":null`} {
		if strings.Contains(string(first.JSON), bad) {
			t.Errorf("the first frame contains %s, which breaks a client", bad)
		}
	}
}

func hasRoute(d *tailcfg.DNSConfig, suffix string) bool {
	_, plain := d.Routes[suffix]
	_, dotted := d.Routes[suffix+"."]
	return plain || dotted
}

func TestPeersKeepTheirOwnCapabilityVersion(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	old := s.NewNode(t, "old")
	old.Version = 115
	old.Join(authKey)
	viewer := s.NewNode(t, "viewer")
	st := viewer.Join(authKey)
	st.Wait(t, "peer with its own Cap", 5*time.Second, func(v *harness.View) bool {
		p, ok := v.Peer("old")
		return ok && p.Cap == 115
	})
}

func TestPeersGetNoPrivateHostinfo(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	shy := s.NewNode(t, "shy")
	shy.Host.PushDeviceToken = "push-secret"
	shy.Host.FrontendLogID = "front-secret"
	shy.Host.Env = "env-secret"
	shyStream := shy.Join(authKey)
	viewer := s.NewNode(t, "viewer")
	st := viewer.Join(authKey)
	shyStream.Wait(t, "viewer", 5*time.Second, func(v *harness.View) bool { return v.Sees(viewer) })
	peer, ok := st.View().Peer("shy")
	if !ok {
		t.Fatal("the peer is missing")
	}
	data, _ := json.Marshal(peer)
	for _, secret := range []string{"push-secret", "front-secret", "env-secret", shy.Host.BackendLogID, "NetInfo", "RequestTags", "TPM"} {
		if strings.Contains(string(data), secret) {
			t.Errorf("peer shows %s: %s", secret, data)
		}
	}
	if h := peer.Hostinfo; h.OS() != "linux" || h.Hostname() != "shy" || h.Services().Len() != 2 {
		t.Errorf("peer lacks what clients need: %s", data)
	}
}

func TestUnusableAuthKeysAreRefused(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	alice := s.CreateUser("alice")
	refused := func(name, authKey string) {
		t.Helper()
		n := s.NewNode(t, name)
		if _, err := n.TryRegister(authKey); err == nil {
			t.Errorf("%s key: accepted", name)
		}
		if _, ok := n.APINode(); ok {
			t.Errorf("%s key: left a node", name)
		}
	}
	refused("unknown", "hskey-auth-aaaaaaaaaaaa-"+strings.Repeat("a", 64))
	refused("malformed", "what is this")

	short := s.CreateKey(harness.Key{User: alice, Reusable: true, Life: 300 * time.Millisecond})
	<-time.After(time.Until(short.Expiration) + 50*time.Millisecond)
	refused("expired", short.Key)

	deleted := s.CreateKey(harness.Key{User: alice, Reusable: true})
	if err := s.API("DELETE", "/api/v1/preauthkey?id="+deleted.ID, nil, nil); err != nil {
		t.Fatal(err)
	}
	refused("deleted", deleted.Key)

	revoked := s.CreateKey(harness.Key{User: alice, Reusable: true})
	if err := s.API("POST", "/api/v1/preauthkey/expire", map[string]any{"id": revoked.ID}, nil); err != nil {
		t.Fatal(err)
	}
	refused("revoked", revoked.Key)

	once := s.CreateKey(harness.Key{User: alice})
	first := s.NewNode(t, "first")
	first.Register(once.Key)
	refused("used", once.Key)

	// A client that restarts presents its key again. It may also register without the key.
	id := first.ID()
	if _, err := first.TryRegister(once.Key); err != nil {
		t.Errorf("a used key was refused for its own node: %v", err)
	}
	if _, err := first.TryRegister(""); err != nil {
		t.Errorf("a registered node without a key was refused: %v", err)
	}
	if err := s.API("DELETE", "/api/v1/preauthkey?id="+once.ID, nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := first.TryRegister(once.Key); err != nil {
		t.Errorf("a deleted key was refused for its own node: %v", err)
	}
	if again := first.ID(); again != id || len(s.Nodes()) != 1 {
		t.Errorf("node id %s, then %s; %d nodes", id, again, len(s.Nodes()))
	}
}

func TestOneShotKeyAdmitsOneOfManyAtOnce(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	once := s.CreateKey(harness.Key{User: s.CreateUser("alice")})
	const racers = 8
	results := make(chan error, racers)
	for range racers {
		n := s.NewNode(t, "racer")
		go func() {
			_, err := n.TryRegister(once.Key)
			results <- err
		}()
	}
	winners := 0
	for range racers {
		if <-results == nil {
			winners++
		}
	}
	if winners != 1 || len(s.Nodes()) != 1 {
		t.Errorf("a one-shot key admitted %d of %d machines, %d nodes", winners, racers, len(s.Nodes()))
	}
}

func TestForeignNodeKeysAreRefused(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	owner := s.NewNode(t, "owner")
	ownerStream := owner.Join(authKey)
	before, _ := owner.APINode()

	thief := s.NewNode(t, "thief")
	thief.Key = owner.Key
	if _, err := thief.TryRegister(""); err == nil {
		t.Error("another machine registered with the node key alone")
	}
	if _, err := thief.TryRegister(authKey); err == nil {
		t.Error("another machine registered the node key with an auth key")
	}
	if st, err := thief.OpenStream(thief.MapRequest()); err == nil {
		if e := st.Await(2*time.Second, func(v *harness.View) bool { return v.Self != nil && !v.Self.Key.IsZero() }); e == nil {
			t.Error("another machine can poll with the node key")
		}
	}
	if err := thief.TryUpdate(); err == nil {
		t.Error("another machine can update the node")
	}
	// The answer to the other machine's logout does not matter, as long as the owner is unaffected.
	req := thief.RegisterRequest()
	req.Expiry = time.Unix(123, 0).UTC()
	thief.Call("POST", "/machine/register", req)
	rotated := s.NodeOf(t, key.NewMachine(), "thief2")
	rotated.OldKey = owner.Key.Public()
	rotated.Register(authKey)
	if rotated.ID() == before.ID {
		t.Error("another machine took over the node with its old key")
	}

	after, ok := owner.APINode()
	if !ok || after.ID != before.ID || after.MachineKey != before.MachineKey || after.Name != before.Name {
		t.Errorf("owner before %+v, after %+v", before, after)
	}
	if after.Expiry != nil && after.Expiry.Before(time.Now()) {
		t.Error("the owner was logged out")
	}
	if err, ended := ownerStream.Ended(); ended {
		t.Errorf("the owner's stream ended: %v", err)
	}
}
