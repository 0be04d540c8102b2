package harness

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/netmap"
)

// attach wraps the official in-memory control server in a [Server], to check the harness against a server that is known to be right.
func attach(t *testing.T) *Server {
	control := &testcontrol.Server{DERPMap: &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{}}, Logf: t.Logf}
	web := httptest.NewServer(control)
	control.HTTPTestServer = web
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
	})
	return &Server{URL: strings.Replace(web.URL, "localhost", "127.0.0.1", 1), t: t}
}

func TestRawNodeAgainstOfficialServer(t *testing.T) {
	s := attach(t)
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	a.Register("")
	st := a.Stream()
	if st.View().Self.Key != a.Key.Public() {
		t.Errorf("self %+v", st.View().Self)
	}
	b.Register("")
	b.Update()
	st.Wait(t, "b", 10*time.Second, func(v *View) bool { return v.Sees(b) })
	b.Logout()
}

func TestDirectAgainstOfficialServer(t *testing.T) {
	s := attach(t)
	d := s.NewDirect(t, "official", "")
	d.Join(t)
	n := s.NewNode(t, "raw")
	n.Register("")
	n.Update()
	d.Wait(t, "the raw node", func(nm *netmap.NetworkMap) bool { return len(nm.Peers) == 1 })
}

func TestViewRefusesBrokenFrames(t *testing.T) {
	self := &tailcfg.Node{ID: 1, StableID: "1", Name: "self."}
	for name, r := range map[string]*tailcfg.MapResponse{
		"no self first":      {Peers: []*tailcfg.Node{{ID: 2}}},
		"own peer":           {Node: self, Peers: []*tailcfg.Node{self}},
		"patch of a peer":    {Node: self, PeersChangedPatch: []*tailcfg.PeerChange{{NodeID: 9}}},
		"peer without a key": {Node: self, Peers: []*tailcfg.Node{{ID: 2, StableID: "2"}}},
	} {
		if NewView().Apply(r) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestYAML(t *testing.T) {
	got := yamlOf(map[string]any{"a.b.c": 1, "a.b.d": "x", "a.e": true, "f": []string{"g"}, "h": nil, "a.b.b.b": 2})
	want := "a:\n  b:\n    b:\n      b: 2\n    c: 1\n    d: \"x\"\n  e: true\nf: [\"g\"]\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
