package control

import (
	"context"
	"strings"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/tailcfg"
)

// ask registers without credentials and returns the URL to visit.
func ask(t *testing.T, n *harness.Node) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	res, err := n.Send(ctx, n.RegisterRequest())
	if err != nil {
		t.Fatal(err)
	}
	if res.AuthURL == "" || res.Error != "" || res.MachineAuthorized {
		t.Fatalf("register without credentials: %+v", res)
	}
	if !strings.HasPrefix(res.AuthURL, n.Server.URL+"/register/") {
		t.Errorf("AuthURL %q is not under %s/register/", res.AuthURL, n.Server.URL)
	}
	return res.AuthURL
}

type verdict struct {
	res *tailcfg.RegisterResponse
	err error
}

// follow waits for the outcome of a login in the background.
func follow(t *testing.T, n *harness.Node, authURL string) <-chan verdict {
	t.Helper()
	out := make(chan verdict, 1)
	req := n.RegisterRequest()
	req.Followup = authURL
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	// Create the connection before the goroutine starts, so that two followups of one node share it without a race.
	if _, err := n.Noise(ctx); err != nil {
		t.Fatal(err)
	}
	go func() {
		res, err := n.Send(ctx, req)
		out <- verdict{res, err}
	}()
	return out
}

func (v verdict) success() error {
	if v.err != nil {
		return v.err
	}
	return harness.Refusal(v.res)
}

// stillWaiting fails if the followup is answered at once.
func stillWaiting(t *testing.T, out <-chan verdict) {
	t.Helper()
	select {
	case v := <-out:
		t.Fatalf("followup answered before the login: %+v %v", v.res, v.err)
	case <-time.After(300 * time.Millisecond):
	}
}

func within(t *testing.T, out <-chan verdict) verdict {
	t.Helper()
	select {
	case v := <-out:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("followup not answered within 10s")
		return verdict{}
	}
}

func TestInteractiveLogin(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	s.CreateUser("alice")
	n := s.NewNode(t, "laptop")
	url := ask(t, n)
	out := follow(t, n, url)
	stillWaiting(t, out)
	if _, ok := n.APINode(); ok {
		t.Error("the node exists before the login")
	}
	if err := s.RegisterAuth(harness.AuthID(url), "alice"); err != nil {
		t.Fatal(err)
	}
	if err := within(t, out).success(); err != nil {
		t.Fatal(err)
	}
	found, ok := n.APINode()
	if !ok || found.User == nil || found.User.Name != "alice" {
		t.Errorf("node %+v", found)
	}
	if st := n.Stream(); st.View().Self.Name != "laptop."+harness.BaseDomain+"." {
		t.Errorf("self %v", st.View().Self.Name)
	}

	t.Run("late-followup", func(t *testing.T) {
		if err := within(t, follow(t, n, url)).success(); err != nil {
			t.Error(err)
		}
	})
}

func TestTwoFollowupsGetOneNode(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	s.CreateUser("alice")
	n := s.NewNode(t, "laptop")
	url := ask(t, n)
	one, two := follow(t, n, url), follow(t, n, url)
	stillWaiting(t, one)
	stillWaiting(t, two)
	if err := s.RegisterAuth(harness.AuthID(url), "alice"); err != nil {
		t.Fatal(err)
	}
	for _, out := range []<-chan verdict{one, two} {
		if err := within(t, out).success(); err != nil {
			t.Error(err)
		}
	}
	if len(s.Nodes()) != 1 {
		t.Errorf("%d nodes", len(s.Nodes()))
	}
}

func TestLoginApprovedByCommandLine(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	s.MustCLI(t, nil, "users", "create", "alice")
	n := s.NewNode(t, "laptop")
	url := ask(t, n)
	out := follow(t, n, url)
	s.MustCLI(t, nil, "auth", "register", "--auth-id", harness.AuthID(url), "--user", "alice")
	if err := within(t, out).success(); err != nil {
		t.Error(err)
	}
}

func TestDeniedLoginCreatesNoNode(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	s.CreateUser("alice")
	n := s.NewNode(t, "laptop")
	url := ask(t, n)
	out := follow(t, n, url)
	stillWaiting(t, out)
	if err := s.API("POST", "/api/v1/auth/reject", map[string]any{"authId": harness.AuthID(url)}, nil); err != nil {
		t.Fatal(err)
	}
	v := within(t, out)
	if v.err != nil || v.success() == nil || (v.res.Error == "" && v.res.AuthURL == "") {
		t.Errorf("denied login: %+v %v, want Error or a new AuthURL", v.res, v.err)
	}
	if v.res != nil && v.res.AuthURL == url {
		t.Error("a denied login returns the same URL again")
	}
	if len(s.Nodes()) != 0 {
		t.Errorf("a denied login left %d nodes", len(s.Nodes()))
	}
}

func TestUnknownFollowupIsRefusedOrRestarted(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	n := s.NewNode(t, "laptop")
	for _, url := range []string{s.URL + "/register/hskey-authreq-aaaaaaaaaaaaaaaaaaaaaaaa", "not a url", s.URL + "/register/"} {
		v := within(t, follow(t, n, url))
		if v.err != nil || (v.res.Error == "" && v.res.AuthURL == "") || v.res.AuthURL == url {
			t.Errorf("followup of %q: %+v %v, want Error or a new AuthURL", url, v.res, v.err)
		}
	}
}

func TestAnotherMachineCannotTakeALogin(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	s.CreateUser("alice")
	n, foreign := s.NewNode(t, "laptop"), s.NewNode(t, "foreign")
	url := ask(t, n)
	theft := follow(t, foreign, url)
	out := follow(t, n, url)
	stillWaiting(t, out)
	if err := s.RegisterAuth(harness.AuthID(url), "alice"); err != nil {
		t.Fatal(err)
	}
	if err := within(t, out).success(); err != nil {
		t.Errorf("the machine that asked for the login: %v", err)
	}
	select {
	case v := <-theft:
		if v.success() == nil {
			t.Error("another machine got the login")
		}
	case <-time.After(2 * time.Second): // still waiting, so it did not get the login
	}
	if _, ok := foreign.APINode(); ok {
		t.Error("another machine got a node")
	}
	if _, ok := n.APINode(); !ok {
		t.Error("the machine that asked for the login has no node")
	}
}

func TestTailscaleUpWithoutKey(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	s.CreateUser("alice")
	c := s.NewClient(t, "laptop")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := c.Command(ctx, "up", "--login-server="+s.URL, "--hostname=laptop")
	out := harness.CaptureLines(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	url, err := out.Find(ctx, s.URL+"/register/")
	if err != nil {
		t.Fatal(err)
	}
	page := harness.Get(t, url)
	if !strings.Contains(page, harness.AuthID(url)) {
		t.Errorf("the page at %s does not explain how to register: %.500s", url, page)
	}
	if err := s.RegisterAuth(harness.AuthID(url), "alice"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("tailscale up: %v: %s", err, out.All())
	}
	c.WaitStatus(t, "running", func(st *harness.Status) error {
		if st.BackendState != "Running" {
			return harness.Errorf("state %s", st.BackendState)
		}
		return nil
	})
}
