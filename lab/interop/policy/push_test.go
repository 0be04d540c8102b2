package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/types/ipproto"
)

// push is a policy and its expected effect on the six nodes. A probe is written `src dst port` for TCP, or `src dst port udp`.
type push struct {
	name   string
	policy string
	yes    []string
	no     []string
	peers  map[string]string // separated by spaces, sorted; nodes that are not listed have no peers
}

const everyone = "all"

var pushes = []push{
	{
		name:   "one user to the other, SSH port",
		policy: `"acls": [{"action": "accept", "src": ["alice@"], "dst": ["bob@:22"]}]`,
		yes:    []string{"alice1 bob 22", "alice2 bob 22", "alice1 bob 22 udp"},
		no:     []string{"alice1 bob 23", "bob alice1 22", "carol bob 22", "alice1 carol 22", "alice1 alice2 22"},
		peers:  map[string]string{"alice1": "bob", "alice2": "bob", "bob": "alice1 alice2"},
	},
	{
		name:   "group to tag, two ports, TCP",
		policy: `"groups": {"group:staff": ["bob@", "carol@"]}, "acls": [{"action": "accept", "proto": "tcp", "src": ["group:staff"], "dst": ["tag:web:80,443"]}]`,
		yes:    []string{"bob web 80", "carol web 443"},
		no:     []string{"bob web 81", "bob web 443 udp", "alice1 web 80", "bob db 80", "web bob 80"},
		peers:  map[string]string{"bob": "web", "carol": "web", "web": "bob carol"},
	},
	{
		name: "chain: staff to web, web to db by host name",
		policy: `"groups": {"group:staff": ["bob@"]}, "hosts": {"database": "%db%"},
			"acls": [{"action": "accept", "src": ["group:staff"], "dst": ["tag:web:443"]}, {"action": "accept", "src": ["tag:web"], "dst": ["database:5432"]}]`,
		yes:   []string{"bob web 443", "web db 5432"},
		no:    []string{"bob db 5432", "web db 443", "db web 443", "carol web 443"},
		peers: map[string]string{"bob": "web", "web": "bob db", "db": "web"},
	},
	{
		name:   "autogroup:self",
		policy: `"acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]}]`,
		yes:    []string{"alice1 alice2 1", "alice2 alice1 65535"},
		no:     []string{"alice1 bob 1", "bob alice1 1", "alice1 web 1", "web db 1"},
		peers:  map[string]string{"alice1": "alice2", "alice2": "alice1"},
	},
	{
		name:   "grant from members to tagged",
		policy: `"grants": [{"src": ["autogroup:member"], "dst": ["autogroup:tagged"], "ip": ["tcp:8080-8090", "udp:53"]}]`,
		yes:    []string{"alice1 web 8080", "carol db 8090", "bob db 53 udp"},
		no:     []string{"alice1 web 53", "alice1 web 8085 udp", "web db 8080", "alice1 bob 8080"},
		peers: map[string]string{"alice1": "db web", "alice2": "db web", "bob": "db web", "carol": "db web",
			"web": "alice1 alice2 bob carol", "db": "alice1 alice2 bob carol"},
	},
	{
		name:   "nothing allowed",
		policy: `"acls": []`,
		no:     []string{"alice1 alice2 22", "alice1 bob 22", "bob web 80", "web db 1"},
		peers:  map[string]string{},
	},
	{
		name:   "all allowed",
		policy: `"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]`,
		yes:    []string{"alice1 bob 22", "web db 1", "db alice2 9 udp"},
		peers:  map[string]string{everyone: ""},
	},
}

func TestPolicyChangesReachNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range pushes {
		t.Run(p.name, func(t *testing.T) {
			text := `{` + owners + `, ` + w.fill(p.policy) + `}`
			begin := time.Now()
			w.s.MustSetPolicy(t, text)
			for name := range w.nodes {
				w.streams[name].Wait(t, "the policy", updateTimeout, func(v *harness.View) bool {
					return slices.Equal(v.PeerNames(), w.expectedPeers(p, name))
				})
			}
			took := time.Since(begin)
			t.Logf("received by all after %v", took)
			if limit := harness.Bound(2 * time.Second); took > limit {
				t.Errorf("received by all after %v, want %v", took, limit)
			}
			w.allFresh(t, p.name)
			for _, probe := range p.yes {
				if ok, err := w.probe(probe); err != nil || !ok {
					t.Errorf("%s is not allowed: %v", probe, err)
				}
			}
			for _, probe := range p.no {
				if ok, err := w.probe(probe); err != nil || ok {
					t.Errorf("%s is allowed: %v", probe, err)
				}
			}
		})
	}
}

// fill replaces %name% with the IPv4 address of a node.
func (w *world) fill(policy string) string {
	for name, st := range w.streams {
		policy = strings.ReplaceAll(policy, "%"+name+"%", st.View().V4().String())
	}
	return policy
}

func (w *world) expectedPeers(p push, name string) []string {
	if _, all := p.peers[everyone]; all {
		return w.others(name)
	}
	if p.peers[name] == "" {
		return nil
	}
	return strings.Fields(p.peers[name])
}

// probe asks the filter of the destination, for both address families.
func (w *world) probe(text string) (bool, error) {
	var src, dst, proto string
	var port uint16
	fmt.Sscan(text, &src, &dst, &port, &proto)
	number := ipproto.TCP
	if proto == "udp" {
		number = ipproto.UDP
	}
	view, from := w.streams[dst].View(), w.streams[src].View().Self
	four, err := view.Allows(from.Addresses[0].Addr(), port, number)
	if err != nil {
		return false, err
	}
	six, err := view.Allows(from.Addresses[1].Addr(), port, number)
	if err == nil && four != six && !strings.Contains(text, " db 5432") { // that rule names an IPv4 address
		err = harness.Errorf("by IPv4 %v, by IPv6 %v", four, six)
	}
	return four, err
}

func TestRejectedPolicyReplacesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := `{` + owners + `, "acls": [{"action": "accept", "src": ["alice@"], "dst": ["bob@:22"]}]}`
	w.s.MustSetPolicy(t, good)
	w.streams["bob"].Wait(t, "the good policy", updateTimeout, func(v *harness.View) bool { return slices.Equal(v.PeerNames(), []string{"alice1", "alice2"}) })
	w.allFresh(t, "good policy")
	marks := map[string]int{}
	for name, st := range w.streams {
		marks[name] = len(st.Frames())
	}
	bad := map[string]string{
		"not JSON":        `{"acls": [`,
		"unknown field":   `{"aclss": []}`,
		"unknown tag":     `{"acls": [{"action": "accept", "src": ["tag:nobody"], "dst": ["*:*"]}]}`,
		"unknown group":   `{"acls": [{"action": "accept", "src": ["group:nobody"], "dst": ["*:*"]}]}`,
		"bad port":        `{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:99999"]}]}`,
		"bad action":      `{"acls": [{"action": "deny", "src": ["*"], "dst": ["*:*"]}]}`,
		"bad destination": `{"acls": [{"action": "accept", "src": ["*"], "dst": ["nobody"]}]}`,
		"duplicate key":   `{"acls": [], "acls": []}`,
		"failing test":    `{` + owners + `, "acls": [{"action": "accept", "src": ["alice@"], "dst": ["bob@:22"]}], "tests": [{"src": "alice@", "accept": ["bob@:23"]}]}`,
		"failing deny":    `{` + owners + `, "acls": [{"action": "accept", "src": ["alice@"], "dst": ["bob@:22"]}], "tests": [{"src": "alice@", "deny": ["bob@:22"]}]}`,
		"huge":            `{"acls": [` + strings.Repeat(" ", 11<<20) + `]}`,
	}
	for name, policy := range bad {
		if err := w.s.SetPolicy(policy); err == nil {
			t.Errorf("%s: accepted", name)
			w.s.MustSetPolicy(t, good)
		} else if !harness.IsClientError(err) && name != "huge" { // the connection may be closed before the whole body was sent
			t.Errorf("%s: %.200v, want a client error", name, err)
		}
	}
	if got := w.s.Policy(); got != good {
		t.Errorf("the active policy is %s", got)
	}
	for name, st := range w.streams {
		if frames := st.Frames()[marks[name]:]; len(frames) != 0 {
			t.Errorf("%s received %d frames after refused policies: %s", name, len(frames), frames[0].JSON)
		}
	}
	s := w.s
	s.Kill()
	s.Restart(t)
	if got := s.Policy(); got != good {
		t.Errorf("after a restart the policy is %s", got)
	}
}

// TestUnknownUsers covers groups with a user who does not exist yet, is created later and then deleted. Other users must not be affected.
func TestUnknownUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.s.MustSetPolicy(t, `{"groups": {"group:g": ["alice@", "dave@", "nobody@example.com"]}, "acls": [{"action": "accept", "src": ["group:g"], "dst": ["bob@:22"]}], `+owners+`}`)
	w.streams["bob"].Wait(t, "alice", updateTimeout, func(v *harness.View) bool { return slices.Equal(v.PeerNames(), []string{"alice1", "alice2"}) })
	dave := w.s.CreateUser("dave")
	w.add(t, "dave", w.s.CreateKey(harness.Key{User: dave, Reusable: true}).Key)
	w.streams["bob"].Wait(t, "dave", updateTimeout, func(v *harness.View) bool { return slices.Equal(v.PeerNames(), []string{"alice1", "alice2", "dave"}) })
	w.allFresh(t, "dave was created")
	w.s.DeleteNode(w.nodes["dave"].ID())
	delete(w.nodes, "dave")
	delete(w.streams, "dave")
	if err := w.s.API("DELETE", "/api/v1/user/"+dave.ID, nil, nil); err != nil {
		t.Fatal(err)
	}
	w.streams["bob"].Wait(t, "the deletion of dave", updateTimeout, func(v *harness.View) bool { return slices.Equal(v.PeerNames(), []string{"alice1", "alice2"}) })
	w.allFresh(t, "dave was deleted")
}

// TestFileMode covers a policy file: it is reloaded on SIGHUP and automatically, and a broken file does not replace the active policy.
func TestFileMode(t *testing.T) {
	t.Parallel()
	open := `{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}`
	s := harness.Start(t, harness.Set("policy.mode", "file"), harness.Set("policy.path", "policy.hujson"), harness.File("policy.hujson", open))
	a, b := s.NewNode(t, "a"), s.NewNode(t, "b")
	aStream := a.Join(s.ReusableKey("alice"))
	b.Join(s.ReusableKey("bob"))
	sees := func(want bool) func(*harness.View) bool {
		return func(v *harness.View) bool { return v.Sees(b) == want }
	}
	aStream.Wait(t, "b", updateTimeout, sees(true))
	s.WriteFile("policy.hujson", `{"acls": []} // closed`)
	s.Hangup()
	aStream.Wait(t, "no peers after SIGHUP", updateTimeout, sees(false))
	s.WriteFile("policy.hujson", open)
	aStream.Wait(t, "b after the automatic reload", updateTimeout, sees(true))
	s.WriteFile("policy.hujson", `{"acls": [`)
	s.Hangup()
	harness.Eventually(t, updateTimeout, "an error about the broken file", func() error {
		if !strings.Contains(s.Log(), "policy.hujson") {
			return harness.Errorf("not in the log")
		}
		return nil
	})
	aStream.SameAsFresh(t, "broken file")
	if !aStream.View().Sees(b) {
		t.Error("a broken file replaced the policy")
	}
	if err := s.SetPolicy(open); !harness.IsClientError(err) {
		t.Errorf("policy set in file mode: %v, want a client error", err)
	}
}

func TestExplainAndPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	current := `{"groups": {"group:staff": ["bob@"]}, ` + owners + `, "acls": [{"action": "accept", "src": ["group:staff"], "dst": ["tag:web:443"]}]}`
	w.s.MustSetPolicy(t, current)
	explain := func(src, dst string) string {
		t.Helper()
		out, err := w.s.CLI("policy", "explain", src, dst)
		if err != nil && !strings.Contains(err.Error(), "exit status") {
			t.Fatal(err)
		}
		return out + fmt.Sprint(err)
	}
	if out := strings.ToLower(explain("bob", "web:443")); !strings.Contains(out, "yes") || !strings.Contains(out, "group:staff") {
		t.Errorf("explain bob web:443: %s", out)
	}
	if out := strings.ToLower(explain("carol", "web:443")); !strings.Contains(out, "no") {
		t.Errorf("explain carol web:443: %s", out)
	}
	w.s.WriteFile("candidate.hujson", strings.Replace(current, `["bob@"]`, `["carol@"]`, 1))
	out, err := w.s.CLI("policy", "preview", "-f", w.s.Dir+"/candidate.hujson")
	if err != nil || !strings.Contains(out, "carol") || !strings.Contains(out, "bob") {
		t.Errorf("preview: %s %v", out, err)
	}
	if got := w.s.Policy(); got != current {
		t.Error("preview changed the policy")
	}
}
