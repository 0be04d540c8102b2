package mesh

import (
	"io"
	"net"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/tsnet"
	"tailscale.com/types/logger"
)

// TestTsnet lets a program with an embedded client (tsnet) and a daemon connect to each other.
func TestTsnet(t *testing.T) {
	t.Setenv("TS_NO_LOGS_NO_SUPPORT", "true")
	t.Setenv("TS_PANIC_IF_HIT_MAIN_CONTROL", "1")
	t.Setenv("TS_DISABLE_PORTMAPPER", "1")
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	daemon := s.JoinClient(t, "daemon", authKey)
	app := &tsnet.Server{Dir: t.TempDir(), Hostname: "app", ControlURL: s.URL, AuthKey: authKey, Logf: logger.Discard, UserLogf: logger.Discard}
	t.Cleanup(func() { app.Close() })
	ctx := harness.WithTimeout(t, 60*time.Second)
	status, err := app.Up(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(status.TailscaleIPs) != 2 {
		t.Errorf("addresses %v", status.TailscaleIPs)
	}
	l, err := app.Listen("tcp", ":9000")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	harness.Eventually(t, pingLimit, "from the daemon into the program", func() error { return daemon.Echo("app."+harness.BaseDomain+":9000", 4096) })
	port := harness.EchoServer(t)
	harness.Eventually(t, pingLimit, "from the program to the daemon", func() error {
		conn, err := app.Dial(ctx, "tcp", net.JoinHostPort(daemon.Address(4).String(), port))
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.WriteString(conn, "hello"); err != nil {
			return err
		}
		back := make([]byte, 5)
		_, err = io.ReadFull(conn, back)
		return err
	})
	local, err := app.LocalClient()
	if err != nil {
		t.Fatal(err)
	}
	who, err := local.WhoIs(ctx, net.JoinHostPort(daemon.Address(4).String(), "1"))
	if err != nil || who.UserProfile.LoginName != "alice" {
		t.Errorf("whois: %+v %v", who, err)
	}
}
