package mesh

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
)

// TestDeletedWhileRunning deletes the node of a running client. The client must ask for a login, wait without polling, and work again
// after the next login, whether its stream stayed open or it had to reconnect meanwhile.
func TestDeletedWhileRunning(t *testing.T) {
	t.Parallel()
	for _, anew := range []bool{false, true} {
		t.Run(fmt.Sprintf("anew=%v", anew), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t)
			authKey := s.ReusableKey("alice")
			clients := s.JoinClients(t, authKey, []string{"stays", "goes"}, harness.ClientEnv("TS_DEBUG_ALWAYS_USE_DERP=1"))
			stays, goes := clients[0], clients[1]
			for _, n := range s.Nodes() {
				if n.GivenName == goes.Name {
					s.DeleteNode(n.ID)
				}
			}
			needsLogin := func(st *harness.Status) error {
				if st.BackendState != "NeedsLogin" {
					return fmt.Errorf("state %s", st.BackendState)
				}
				return nil
			}
			goes.WaitStatus(t, "asks for a login", needsLogin)
			if anew {
				polled := polls(t, goes)
				s.Kill()
				s.Restart(t)
				harness.Eventually(t, 45*time.Second, "the client has asked for a map again", func() error {
					if polls(t, goes) == polled {
						return fmt.Errorf("no map request")
					}
					return nil
				})
				goes.WaitStatus(t, "still asks for a login", needsLogin)
			}
			before := polls(t, goes)
			<-time.After(3 * time.Second)
			if asked := polls(t, goes) - before; asked > 3 {
				t.Errorf("%d map requests in 3 s", asked)
			}
			goes.Up(authKey)
			harness.Eventually(t, 30*time.Second, "a ping through the relay", func() error {
				_, err := goes.Ping(stays.Name, 5*time.Second)
				return err
			})
		})
	}
}

// polls counts the map streams that a client has opened.
func polls(t *testing.T, c *harness.Client) int {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(c.Dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(log), "PollNetMap: stream=true")
}
