package control

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"headsail.invalid/interop/harness"
)

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func TestHostnamesBecomeUniqueDNSLabels(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	viewer := s.NewNode(t, "viewer")
	st := viewer.Join(authKey)
	hostnames := []string{
		"Joe's Mac mini", "Test@Host", "mail.server", "UPPER", "upper", "upper", "viewer", "-dash-", "under_score", "日本語", "", " ",
		strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 300), strings.Repeat("b", 63), strings.Repeat("b", 63),
		"a..b", "xn--", "1", "localhost", "tab\there", "quote\"back\\slash", "emoji😀", strings.Repeat("é", 40), "node", "node-1",
	}
	var nodes []*harness.Node
	for _, hostname := range hostnames {
		n := s.NewNode(t, hostname)
		n.Join(authKey)
		nodes = append(nodes, n)
	}
	st.Wait(t, "all names", updateTimeout, func(v *harness.View) bool { return v.Sees(nodes...) })
	taken := map[string]string{}
	for _, n := range s.Nodes() {
		if !label.MatchString(n.GivenName) {
			t.Errorf("%q became %q, which is not a DNS label", n.Name, n.GivenName)
		}
		if other, dup := taken[n.GivenName]; dup {
			t.Errorf("%q and %q are both %q", n.Name, other, n.GivenName)
		}
		taken[n.GivenName] = n.Name
		if !utf8.ValidString(n.Name) {
			t.Errorf("raw name %q", n.Name)
		}
	}
	for _, p := range st.View().Peers {
		first, rest, _ := strings.Cut(p.Name, ".")
		if !label.MatchString(first) || rest != harness.BaseDomain+"." || len(p.Name) > 254 {
			t.Errorf("peer name %q", p.Name)
		}
	}
	for raw, want := range map[string]string{"Joe's Mac mini": "joes-mac-mini", "UPPER": "upper", "under_score": "under-score", "viewer": "viewer-1"} {
		found := false
		for given, name := range taken {
			found = found || (name == raw && given == want)
		}
		if !found {
			t.Errorf("%q did not become %q", raw, want)
		}
	}
	st.SameAsFresh(t, "names")
}

func TestRenamedNodeKeepsItsName(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	aStream, bStream := a.Join(authKey), b.Join(authKey)
	id := b.ID()
	for _, bad := range []string{"a", "UPPER CASE", "with.dot", "-x", "x-", "under_score", strings.Repeat("x", 64), "é"} {
		if err := s.RenameNode(id, bad); !harness.IsClientError(err) {
			t.Errorf("rename to %q: %v, want a client error", bad, err)
		}
	}
	// The node's name follows its hostname until an administrator renames it.
	b.Host.Hostname = "follows"
	b.Update()
	named := func(name string) func(*harness.View) bool {
		return func(v *harness.View) bool { _, ok := v.Peer(name); return ok }
	}
	aStream.Wait(t, "the new hostname", updateTimeout, named("follows"))
	if err := s.RenameNode(id, "chosen"); err != nil {
		t.Fatal(err)
	}
	aStream.Wait(t, "the rename", updateTimeout, named("chosen"))
	bStream.Wait(t, "its own new name", updateTimeout, func(v *harness.View) bool { return v.Self.Name == "chosen."+harness.BaseDomain+"." })
	b.Host.Hostname = "ignored"
	b.Update()
	b.Register(authKey)
	if n := s.MustNode(id); n.GivenName != "chosen" || n.Name != "ignored" {
		t.Errorf("given name %q, hostname %q", n.GivenName, n.Name)
	}
	aStream.SameAsFresh(t, "rename")
}
