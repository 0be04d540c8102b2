// Package policy sets policies on a running server and checks what official clients receive: filters, peers, routes, tags, SSH.
package policy

import (
	"slices"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// updateTimeout is how long a change may take to reach a node in tests that do not measure it.
const updateTimeout = 10 * time.Second

// world is a tailnet of six nodes: two of alice, one each of bob and carol, and two tagged servers.
type world struct {
	s       *harness.Server
	nodes   map[string]*harness.Node
	streams map[string]*harness.Stream
}

const owners = `"tagOwners": {"tag:web": ["alice@"], "tag:db": ["alice@"], "tag:router": ["alice@"]}`

func newWorld(t *testing.T, opts ...harness.Option) *world {
	t.Helper()
	w := &world{harness.Start(t, opts...), map[string]*harness.Node{}, map[string]*harness.Stream{}}
	w.s.MustSetPolicy(t, `{`+owners+`, "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}`)
	keys := map[string]string{}
	for _, user := range []string{"alice", "bob", "carol"} {
		keys[user] = w.s.ReusableKey(user)
	}
	for _, tag := range []string{"web", "db"} {
		keys[tag] = w.s.CreateKey(harness.Key{Reusable: true, Tags: []string{"tag:" + tag}}).Key
	}
	for _, name := range []string{"alice1", "alice2", "bob", "carol", "web", "db"} {
		w.add(t, name, keys[trimDigits(name)])
	}
	return w
}

func trimDigits(name string) string {
	for len(name) > 0 && name[len(name)-1] <= '9' {
		name = name[:len(name)-1]
	}
	return name
}

func (w *world) add(t *testing.T, name, authKey string) *harness.Node {
	t.Helper()
	n := w.s.NewNode(t, name)
	w.nodes[name] = n
	w.streams[name] = n.Join(authKey)
	return n
}

// peers returns the sorted names of a node's peers.
func (w *world) peers(name string) []string {
	var names []string
	w.streams[name].Look(func(v *harness.View) { names = v.PeerNames() })
	return names
}

// allFresh checks that the view of every node equals a fresh map.
func (w *world) allFresh(t *testing.T, when string) {
	t.Helper()
	for name, st := range w.streams {
		st.SameAsFresh(t, when+", "+name)
		if err, ended := st.Ended(); ended {
			t.Errorf("%s: the stream of %s ended: %v", when, name, err)
		}
	}
}

// others returns all names except one, sorted.
func (w *world) others(name string) []string {
	var names []string
	for other := range w.nodes {
		if other != name {
			names = append(names, other)
		}
	}
	slices.Sort(names)
	return names
}
