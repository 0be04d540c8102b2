package control

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
)

// stormSeed is random, unless HEADSAIL_INTEROP_SEED repeats an earlier storm. That repeats the order of events, not their timing.
func stormSeed() uint64 {
	if seed, err := strconv.ParseUint(os.Getenv("HEADSAIL_INTEROP_SEED"), 10, 64); err == nil {
		return seed
	}
	return rand.Uint64()
}

// stormNode is a node that performs random actions in its own goroutine.
type stormNode struct {
	*harness.Node
	stream *harness.Stream
	random *rand.Rand
	key    string
	// rotations counts its new keys. The server limits how often a machine may change its node.
	rotations int
}

const maxRotations = 60

func (n *stormNode) act(t *testing.T) {
	s := n.Server
	switch n.random.IntN(9) {
	case 0, 1, 2:
		n.Endpoints = endpoints(fmt.Sprintf("192.0.2.%d:%d", 1+n.random.IntN(250), 1+n.random.IntN(60000)))
		n.TryUpdate()
	case 3:
		n.Host.NetInfo.PreferredDERP = 1 + n.random.IntN(9)
		n.TryUpdate()
	case 4:
		n.stream.Close()
		n.stream = n.Stream()
	case 5: // the older stream is superseded
		n.stream = n.Stream()
	case 6:
		if shown, ok := n.APINode(); ok {
			s.RenameNode(shown.ID, fmt.Sprintf("name-%d", n.random.IntN(1000)))
		}
	case 7:
		if shown, ok := n.APINode(); ok {
			s.ExpireNode(shown.ID, time.Now().Add(time.Hour))
			s.NeverExpire(shown.ID)
		}
	case 8:
		if n.rotations++; n.rotations > maxRotations {
			return
		}
		n.Rotate()
		n.Register(n.key)
		n.stream = n.Stream()
		n.Update()
	}
}

// TestStorm lets many nodes act concurrently while an administrator changes the policy and deletes nodes. At the end every view must
// equal a fresh map, and no node may be missing.
func TestStorm(t *testing.T) {
	t.Parallel()
	seed := stormSeed()
	t.Logf("HEADSAIL_INTEROP_SEED=%d", seed)
	s := harness.Start(t)
	keys := []string{s.ReusableKey("alice"), s.ReusableKey("bob"), s.ReusableKey("carol")}
	nodes := make([]*stormNode, 12)
	for i := range nodes {
		n := s.NewNode(t, fmt.Sprintf("storm-%d", i))
		key := keys[i%len(keys)]
		nodes[i] = &stormNode{Node: n, stream: n.Join(key), random: rand.New(rand.NewPCG(seed, uint64(i))), key: key}
	}
	silent := s.NewNode(t, "silent")
	silent.Join(keys[0])

	over := time.Now().Add(4 * time.Second)
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			for time.Now().Before(over) {
				n.act(t)
			}
		})
	}
	wg.Go(func() {
		policies := []string{
			`{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}`,
			`{"acls": [{"action": "accept", "src": ["alice@"], "dst": ["bob@:22"]}]}`,
			`{"acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]}]}`,
			`{"acls": []}`,
		}
		for i := 0; time.Now().Before(over); i++ {
			if err := s.SetPolicy(policies[i%len(policies)]); err != nil {
				t.Errorf("policy: %v", err)
			}
			extra := s.NewNode(t, fmt.Sprintf("extra-%d", i))
			if _, err := extra.TryRegister(keys[i%len(keys)]); err != nil {
				t.Errorf("extra: %v", err)
			} else if shown, ok := extra.APINode(); ok {
				s.DeleteNode(shown.ID)
			}
			extra.Close()
		}
	})
	wg.Wait()
	s.MustSetPolicy(t, `{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}`)
	for _, n := range nodes {
		n.stream.Wait(t, "all others", updateTimeout, func(v *harness.View) bool { return len(v.Peers) == len(nodes) })
	}
	for _, n := range nodes {
		n.stream.SameAsFresh(t, "storm")
	}
	if all := s.Nodes(); len(all) != len(nodes)+1 {
		t.Errorf("%d nodes, want %d", len(all), len(nodes)+1)
	}
	before := fmt.Sprint(identitiesOf(s))
	s.Kill()
	s.Restart(t)
	if after := fmt.Sprint(identitiesOf(s)); before != after {
		t.Errorf("before the crash %s\nafter it %s", before, after)
	}
}

// identitiesOf lists the facts about nodes that must survive a crash, in the order of their ids.
func identitiesOf(s *harness.Server) []string {
	var out []string
	for _, n := range s.Nodes() {
		out = append(out, fmt.Sprint(n.ID, n.NodeKey, n.GivenName, n.IPAddresses, n.Expiry))
	}
	return out
}
