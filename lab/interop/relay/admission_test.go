package relay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

// admitted returns an error unless the relay admits a client with this key.
func admitted(t *testing.T, s *harness.Server, private key.NodePrivate) error {
	t.Helper()
	conn, reader, res, err := s.RelayUpgrade(false, upgrade)
	if err != nil {
		return err
	}
	defer conn.Close()
	if res.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("status %s", res.Status)
	}
	_, err = harness.NewRelayConn(private, conn, reader)
	return err
}

func TestRelayAdmitsRegisteredNodesOnly(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Set("derp.server.verify_clients", true))
	if err := admitted(t, s, key.NewNode()); err == nil {
		t.Error("an unknown key was admitted")
	}
	n := s.NewNode(t, "known")
	n.Register(s.ReusableKey("alice"))
	if err := admitted(t, s, n.Key); err != nil {
		t.Errorf("a registered node: %v", err)
	}
	r := s.Relay(t, n.Key)
	s.DeleteNode(n.ID())
	harness.Eventually(t, 5*time.Second, "the refusal of a deleted node", func() error {
		if admitted(t, s, n.Key) == nil {
			return harness.Errorf("admitted")
		}
		return nil
	})
	if err := r.Ended(10 * time.Second); err != nil {
		t.Logf("the deleted node's open relay connection: %v", err)
	}
}

func TestRelayRefusesExpiredNodesUntilLogin(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Set("derp.server.verify_clients", true))
	n := s.NewNode(t, "known")
	n.Register(s.ReusableKey("alice"))
	r := s.Relay(t, n.Key)
	s.ExpireNode(n.ID(), time.Time{})
	if err := r.Ended(10 * time.Second); err != nil {
		t.Errorf("the expired node's open relay connection: %v", err)
	}
	if admitted(t, s, n.Key) == nil || verify(t, s, n.Key.Public().String()) {
		t.Error("an expired node may use the relay")
	}
	s.NeverExpire(n.ID())
	if err := admitted(t, s, n.Key); err != nil {
		t.Errorf("a node that is valid again: %v", err)
	}
}

func verify(t *testing.T, s *harness.Server, nodeKey string) bool {
	t.Helper()
	body, _ := json.Marshal(map[string]string{"NodePublic": nodeKey, "Source": "127.0.0.1"})
	res, err := http.Post(s.URL+"/verify", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, _ := io.ReadAll(res.Body)
	var answer tailcfg.DERPAdmitClientResponse
	if err := json.Unmarshal(data, &answer); err != nil || res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		t.Fatalf("POST /verify: %s %s %q", res.Status, data, res.Header.Get("Content-Type"))
	}
	return answer.Allow
}

func TestVerifyEndpoint(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	n := s.NewNode(t, "known")
	n.Register(s.ReusableKey("alice"))
	if !verify(t, s, n.Key.Public().String()) {
		t.Error("a registered node is refused")
	}
	if verify(t, s, key.NewNode().Public().String()) {
		t.Error("an unknown node is allowed")
	}
	if verify(t, s, key.NodePublic{}.String()) {
		t.Error("the zero key is allowed")
	}
	for name, body := range map[string]string{"malformed": "{", "oversized": `{"NodePublic":"` + strings.Repeat("a", 1<<20) + `"}`} {
		res, err := http.Post(s.URL+"/verify", "application/json", strings.NewReader(body))
		if err != nil {
			continue // the connection was closed during an oversized body
		}
		res.Body.Close()
		if res.StatusCode/100 != 4 || (name == "oversized" && res.StatusCode != http.StatusRequestEntityTooLarge) {
			t.Errorf("%s: %s", name, res.Status)
		}
	}
}

func TestDerperAsksTheServer(t *testing.T) {
	t.Parallel()
	if !harness.All() && os.Getenv("DERPER") == "" {
		t.Skip("needs derper: HEADSAIL_INTEROP_ALL=1 builds it, DERPER names one")
	}
	derper := os.Getenv("DERPER")
	if derper == "" {
		var err error
		if derper, err = harness.OfficialTool("derper"); err != nil {
			t.Fatal(err)
		}
	}
	s := harness.Start(t)
	dir := t.TempDir()
	addr := "127.0.0.1:" + harness.FreePort(t)
	cmd := exec.Command(derper, "-a", addr, "-stun=false", "-http-port=-1", "-c", filepath.Join(dir, "derper.key"), "-verify-client-url", s.URL+"/verify")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out := harness.CaptureLines(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(out.All())
		}
	})
	n := s.NewNode(t, "known")
	n.Register(s.ReusableKey("alice"))
	connect := func(private key.NodePrivate) error {
		c, err := derphttp.NewClient(private, "http://"+addr+"/derp", logger.Discard, netmon.NewStatic())
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.Connect(harness.WithTimeout(t, 5*time.Second)); err != nil {
			return err
		}
		timer := time.AfterFunc(5*time.Second, func() { c.Close() })
		defer timer.Stop()
		_, err = c.Recv()
		return err
	}
	harness.Eventually(t, 15*time.Second, "derper admits a registered node", func() error { return connect(n.Key) })
	if connect(key.NewNode()) == nil {
		t.Error("derper admits an unknown node")
	}
}
