package policy

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/tailcfg"
)

// notPermitted is part of a message that clients show to users and scripts search for.
const notPermitted = "are invalid or not permitted"

const tagPolicy = `{
	"tagOwners": {"tag:owned": ["alice@"], "tag:second": ["alice@"], "tag:foreign": ["bob@"]},
	"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]
}`

func tagServer(t *testing.T) (s *harness.Server, alice harness.User) {
	t.Helper()
	s = harness.Start(t, harness.Set("node.expiry", "24h"))
	alice = s.CreateUser("alice")
	s.CreateUser("bob")
	s.MustSetPolicy(t, tagPolicy)
	return s, alice
}

func tagsOf(t *testing.T, n *harness.Node) []string {
	t.Helper()
	found, ok := n.APINode()
	if !ok {
		t.Fatalf("%s does not exist", n.Host.Hostname)
	}
	tags := slices.Clone(found.Tags)
	slices.Sort(tags)
	return tags
}

func wantTags(t *testing.T, n *harness.Node, when string, want ...string) {
	t.Helper()
	if got := tagsOf(t, n); !slices.Equal(got, want) {
		t.Errorf("%s: %s has tags %v, want %v", when, n.Host.Hostname, got, want)
	}
}

func TestTaggedKeyCreatesTaggedNodes(t *testing.T) {
	t.Parallel()
	s, alice := tagServer(t)
	viewer := s.NewNode(t, "viewer")
	st := viewer.Join(s.CreateKey(harness.Key{User: alice, Reusable: true}).Key)
	for name, key := range map[string]harness.Key{
		"owner":   {User: alice, Reusable: true, Tags: []string{"tag:owned"}},
		"noowner": {Reusable: true, Tags: []string{"tag:owned"}},
	} {
		made := s.CreateKey(key)
		n := s.NewNode(t, name)
		self := n.Join(made.Key).View().Self
		wantTags(t, n, "key with a tag", "tag:owned")
		if !slices.Equal(self.Tags, []string{"tag:owned"}) || !self.KeyExpiry.IsZero() {
			t.Errorf("self: tags %v, expiry %v", self.Tags, self.KeyExpiry)
		}
		st.Wait(t, "the tagged peer", updateTimeout, func(v *harness.View) bool {
			p, ok := v.Peer(name)
			return ok && slices.Equal(p.Tags, []string{"tag:owned"}) && p.KeyExpiry.IsZero() && v.Users[p.User].LoginName == "tagged-devices"
		})
		shown, _ := n.APINode()
		if shown.User == nil || shown.User.Name != "tagged-devices" || shown.Expiry != nil {
			t.Errorf("API: user %+v, expiry %v", shown.User, shown.Expiry)
		}
	}
	wantTags(t, viewer, "key without tags")
	if st.View().Self.KeyExpiry.IsZero() {
		t.Error("a node with a user has no expiry although node.expiry is set")
	}
}

// TestKeyTagsAreFixed checks that a client that requests tags other than those of its key is refused and leaves no node.
func TestKeyTagsAreFixed(t *testing.T) {
	t.Parallel()
	s, alice := tagServer(t)
	tagged := s.CreateKey(harness.Key{User: alice, Reusable: true, Tags: []string{"tag:owned"}}).Key
	untagged := s.CreateKey(harness.Key{User: alice, Reusable: true}).Key
	noOwner := s.CreateKey(harness.Key{Reusable: true, Tags: []string{"tag:owned"}}).Key
	cases := []struct {
		name, key string
		request   []string
		ok        bool
	}{
		{"own tag of the key", tagged, []string{"tag:owned"}, true},
		{"no request", tagged, nil, true},
		{"another owned tag", tagged, []string{"tag:second"}, false},
		{"one more tag", tagged, []string{"tag:owned", "tag:second"}, false},
		{"foreign tag", tagged, []string{"tag:foreign"}, false},
		{"unknown tag", tagged, []string{"tag:nobody"}, false},
		{"malformed tag", tagged, []string{"nonsense"}, false},
		{"untagged key, owned tag", untagged, []string{"tag:owned"}, false},
		{"untagged key, unknown tag", untagged, []string{"tag:nobody"}, false},
		{"untagged key, foreign tag", untagged, []string{"tag:foreign"}, false},
		{"untagged key, no request", untagged, nil, true},
		{"key without owner, no request", noOwner, nil, true},
		{"key without owner, another tag", noOwner, []string{"tag:second"}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := s.NewNode(t, strings.ReplaceAll(c.name, " ", "-"))
			n.Host.RequestTags = c.request
			_, err := n.TryRegister(c.key)
			_, there := n.APINode()
			switch {
			case c.ok && (err != nil || !there):
				t.Errorf("refused: %v", err)
			case !c.ok && err == nil:
				t.Error("accepted")
			case !c.ok && (!strings.Contains(err.Error(), "requested tags [") || !strings.Contains(err.Error(), c.request[len(c.request)-1]+"] "+notPermitted)):
				t.Errorf("the error is %q", err)
			case !c.ok && there:
				t.Error("refused, but the node exists")
			}
		})
	}
}

// TestTagsAdvertisedLaterChangeNothing covers tags that a registered node advertises later, by `tailscale up --advertise-tags` without a
// login.
func TestTagsAdvertisedLaterChangeNothing(t *testing.T) {
	t.Parallel()
	s, alice := tagServer(t)
	tagged, plain, admin := s.NewNode(t, "tagged"), s.NewNode(t, "plain"), s.NewNode(t, "admin")
	key := s.CreateKey(harness.Key{User: alice, Reusable: true}).Key
	tagged.Join(s.CreateKey(harness.Key{User: alice, Reusable: true, Tags: []string{"tag:owned"}}).Key)
	plain.Join(key)
	admin.Join(key)
	if err := s.TagNode(admin.ID(), "tag:owned", "tag:second"); err != nil {
		t.Fatal(err)
	}
	for _, request := range [][]string{{"tag:second"}, {"tag:owned", "tag:second"}, {"tag:nobody"}, {"tag:foreign"}, {}} {
		for _, n := range []*harness.Node{tagged, plain, admin} {
			n.Host.RequestTags = request
			n.TryUpdate()
		}
		wantTags(t, tagged, "after an update", "tag:owned")
		wantTags(t, plain, "after an update")
		wantTags(t, admin, "after an update", "tag:owned", "tag:second")
	}
}

// login performs an interactive login and returns the error, if any.
func login(t *testing.T, n *harness.Node, user string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	res, err := n.Send(ctx, n.RegisterRequest())
	if err != nil {
		return err
	}
	if res.Error != "" {
		return harness.Refusal(res)
	}
	if res.AuthURL == "" {
		t.Fatalf("%s: no AuthURL: %+v", n.Host.Hostname, res)
	}
	if err := n.Server.RegisterAuth(harness.AuthID(res.AuthURL), user); err != nil {
		return err
	}
	req := n.RegisterRequest()
	req.Followup = res.AuthURL
	if res, err = n.Send(ctx, req); err != nil {
		return err
	}
	return harness.Refusal(res)
}

func TestInteractiveLoginWithTags(t *testing.T) {
	t.Parallel()
	s, _ := tagServer(t)
	for name, c := range map[string]struct {
		request []string
		ok      bool
	}{
		"owned":         {[]string{"tag:owned"}, true},
		"two-owned":     {[]string{"tag:owned", "tag:second"}, true},
		"none":          {nil, true},
		"foreign":       {[]string{"tag:foreign"}, false},
		"unknown":       {[]string{"tag:nobody"}, false},
		"owned-foreign": {[]string{"tag:owned", "tag:foreign"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := s.NewNode(t, name)
			n.Host.RequestTags = c.request
			err := login(t, n, "alice")
			_, there := n.APINode()
			switch {
			case c.ok && (err != nil || !there):
				t.Fatalf("refused: %v", err)
			case c.ok:
				wantTags(t, n, "login", c.request...)
			case err == nil || there:
				t.Errorf("accepted: %v", tagsOf(t, n))
			case !strings.Contains(err.Error(), notPermitted):
				t.Errorf("the error is %q", err)
			}
		})
	}
}

// TestReloginReplacesTags checks that an interactive login replaces the tags: with more, with fewer, with none.
func TestReloginReplacesTags(t *testing.T) {
	t.Parallel()
	s, _ := tagServer(t)
	n := s.NewNode(t, "n")
	steps := [][]string{nil, {"tag:owned"}, {"tag:owned", "tag:second"}, {"tag:second"}, nil}
	var id string
	for i, tags := range steps {
		n.Host.RequestTags = tags
		if err := login(t, n, "alice"); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		wantTags(t, n, "step", tags...)
		if id == "" {
			id = n.ID()
		} else if n.ID() != id {
			t.Errorf("step %d: node %s became %s", i, id, n.ID())
		}
		n.Rotate()
	}
	n.Host.RequestTags = []string{"tag:foreign"}
	before := s.MustNode(id)
	if err := login(t, n, "alice"); err == nil {
		t.Error("a login that requests a tag of another owner succeeded")
	}
	if after := s.MustNode(id); !slices.Equal(after.Tags, before.Tags) || after.NodeKey != before.NodeKey {
		t.Errorf("the refused login changed the node: before %+v, after %+v", before, after)
	}
}

func TestAdministratorSetsTags(t *testing.T) {
	t.Parallel()
	s, alice := tagServer(t)
	key := s.CreateKey(harness.Key{User: alice, Reusable: true}).Key
	viewer, n := s.NewNode(t, "viewer"), s.NewNode(t, "n")
	st, own := viewer.Join(key), n.Join(key)
	id := n.ID()
	for name, tags := range map[string][]string{"unknown": {"tag:nobody"}, "malformed": {"nonsense"}, "upper": {"tag:OWNED!"}, "empty": {}, "one bad": {"tag:owned", "tag:nobody"}} {
		if err := s.TagNode(id, tags...); !harness.IsClientError(err) {
			t.Errorf("%s tags: %v, want a client error", name, err)
		}
	}
	wantTags(t, n, "refused tags")
	// An administrator may set a tag that the node's user does not own.
	if err := s.TagNode(id, "tag:foreign"); err != nil {
		t.Fatal(err)
	}
	st.Wait(t, "the tag", updateTimeout, func(v *harness.View) bool {
		p, ok := v.Peer("n")
		return ok && slices.Equal(p.Tags, []string{"tag:foreign"}) && p.KeyExpiry.IsZero()
	})
	own.Wait(t, "its own tag", updateTimeout, func(v *harness.View) bool { return slices.Equal(v.Self.Tags, []string{"tag:foreign"}) })
	if err := s.TagNode(id, "tag:owned", "tag:second"); err != nil {
		t.Fatal(err)
	}
	own.Wait(t, "the replaced tags", updateTimeout, func(v *harness.View) bool { return len(v.Self.Tags) == 2 })
	if err := s.TagNode(id); !harness.IsClientError(err) {
		t.Errorf("all tags removed: %v, want a client error", err)
	}
	st.SameAsFresh(t, "admin tags")
	own.SameAsFresh(t, "admin tags")

	// Registering again with the same key keeps the administrator's tags.
	if _, err := n.TryRegister(key); err != nil {
		t.Error(err)
	}
	wantTags(t, n, "registered again", "tag:owned", "tag:second")
}

// TestTagOwnsTag covers tags that own tags, and nodes of a tagged key in a policy.
func TestTagOwnsTag(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	s.CreateUser("alice")
	s.MustSetPolicy(t, `{"tagOwners": {"tag:ci": ["alice@"], "tag:deployed": ["tag:ci"]}, "grants": [{"src": ["tag:ci"], "dst": ["tag:deployed"], "ip": ["tcp:22"]}]}`)
	ci, deployed := s.NewNode(t, "ci"), s.NewNode(t, "deployed")
	st := ci.Join(s.CreateKey(harness.Key{Reusable: true, Tags: []string{"tag:ci"}}).Key)
	deployed.Join(s.CreateKey(harness.Key{Reusable: true, Tags: []string{"tag:deployed"}}).Key)
	st.Wait(t, "the deployed node", updateTimeout, func(v *harness.View) bool { return v.Sees(deployed) })
	caps := st.View().Self.CapMap
	if _, ok := caps[tailcfg.CapabilitySSH]; !ok {
		t.Logf("self capabilities: %v", caps)
	}
}

// TestTailscaleUpTags checks what the official command line does when tags are refused.
func TestTailscaleUpTags(t *testing.T) {
	t.Parallel()
	s, alice := tagServer(t)
	c := s.NewClient(t, "laptop")
	untagged := s.CreateKey(harness.Key{User: alice, Reusable: true}).Key
	out, err := c.Run(30*time.Second, "up", "--login-server="+s.URL, "--auth-key="+untagged, "--hostname=laptop", "--advertise-tags=tag:owned", "--timeout=8s")
	if err == nil || !strings.Contains(out, notPermitted) {
		t.Errorf("up with a tag and an untagged key: %v %s", err, out)
	}
	if nodes := s.Nodes(); len(nodes) != 0 {
		t.Errorf("%d nodes", len(nodes))
	}
	tagged := s.CreateKey(harness.Key{User: alice, Reusable: true, Tags: []string{"tag:owned"}}).Key
	c.MustRun("up", "--login-server="+s.URL, "--auth-key="+tagged, "--hostname=laptop", "--reset", "--timeout=30s")
	c.WaitStatus(t, "its tag", func(st *harness.Status) error {
		if st.Self.Tags == nil || st.Self.Tags.Len() != 1 {
			return harness.Errorf("tags %v", st.Self.Tags)
		}
		return nil
	})
}
