package faults

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
)

// smallDisk mounts a disk of a few MiB. It skips the test if it cannot, because mounting needs root.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		if harness.InCI() {
			t.Fatalf("mount a small disk: %v", err)
		}
		t.Skipf("cannot mount a small disk here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// TestFullDisk fills the disk with the database. The server must not acknowledge what it cannot store, must keep serving existing data,
// and must recover automatically when there is room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "6m")
	s := harness.Start(t, harness.Set("database.sqlite.path", filepath.Join(disk, "db.sqlite")))
	authKey := s.ReusableKey("alice")
	n := s.NewNode(t, "before")
	st := n.Join(authKey)

	filler := filepath.Join(disk, "filler")
	fill(t, filler)
	acknowledged := []*harness.Node{n}
	refused := 0
	var why error
	for i := range 400 {
		extra := s.NewNode(t, fmt.Sprintf("extra-%d", i))
		if _, err := extra.TryRegister(authKey); err == nil {
			acknowledged = append(acknowledged, extra)
		} else {
			why = err
			if refused++; refused == 5 {
				break
			}
		}
	}
	if refused == 0 {
		t.Fatal("400 nodes registered on a full disk, so the disk is too large for this test")
	}
	t.Logf("%d nodes acknowledged; then: %v", len(acknowledged), why)
	harness.Eventually(t, 5*time.Second, "an error about the full disk in the log", func() error {
		if !strings.Contains(s.Log(), "full") {
			return harness.Errorf("%s", s.LogTail(5))
		}
		return nil
	})
	if err := s.WaitHealthy(2 * time.Second); err != nil {
		t.Logf("health meanwhile: %v", err)
	}
	if err, ended := st.Ended(); ended {
		t.Errorf("an open stream ended: %v", err)
	}
	if nodes := s.Nodes(); len(nodes) != len(acknowledged) {
		t.Errorf("%d nodes shown, %d acknowledged", len(nodes), len(acknowledged))
	}
	if fresh := n.Fresh(); len(fresh.Peers) != len(acknowledged)-1 {
		t.Errorf("%d peers in the map, %d acknowledged", len(fresh.Peers), len(acknowledged)-1)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	late := s.NewNode(t, "late")
	harness.Eventually(t, 15*time.Second, "registration after space was freed", func() error {
		_, err := late.TryRegister(authKey)
		return err
	})
	acknowledged = append(acknowledged, late)
	s.Kill()
	s.Restart(t)
	for _, a := range acknowledged {
		if _, ok := a.APINode(); !ok {
			t.Errorf("%s was acknowledged but is missing", a.Host.Hostname)
		}
	}
	if nodes := s.Nodes(); len(nodes) != len(acknowledged) {
		t.Errorf("%d nodes after the restart, %d acknowledged", len(nodes), len(acknowledged))
	}
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := make([]byte, 4096)
	for {
		if _, err := f.Write(chunk); err != nil {
			return
		}
	}
}

// lock locks the database as another program would, until release is called.
func lock(t *testing.T, path string) (release func(), err error) {
	t.Helper()
	sqlite, err := exec.LookPath("sqlite3")
	if err != nil {
		if harness.InCI() {
			t.Fatal(err)
		}
		t.Skip("needs the sqlite3 command")
	}
	cmd := exec.Command(sqlite, "-batch", path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out := harness.CaptureLines(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	release = func() {
		in.Close()
		cmd.Wait()
	}
	t.Cleanup(release)
	io.WriteString(in, ".timeout 2000\nBEGIN EXCLUSIVE;\n.print tried\n")
	if _, err := out.Find(harness.WithTimeout(t, 10*time.Second), "tried"); err != nil {
		return nil, err
	}
	if strings.Contains(out.All(), "locked") {
		release()
		return nil, harness.Errorf("%s", out.All())
	}
	return release, nil
}

// TestLockedDatabase locks the database of a running server.
func TestLockedDatabase(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	n := s.NewNode(t, "before")
	st := n.Join(authKey)
	release, err := lock(t, filepath.Join(s.Dir, "db.sqlite"))
	if err != nil {
		t.Skipf("the database of a running server cannot be locked: %v", err)
	}
	during := s.NewNode(t, "during")
	begin := time.Now()
	_, refusal := during.TryRegister(authKey)
	t.Logf("registration meanwhile: %v after %v", refusal, time.Since(begin))
	if refusal == nil {
		t.Error("a registration was acknowledged that cannot have been stored")
	}
	if err, ended := st.Ended(); ended {
		t.Errorf("an open stream ended: %v", err)
	}
	if fresh := n.Fresh(); len(fresh.Peers) != 0 {
		t.Errorf("the map has %v, which is not stored", fresh.PeerNames())
	}
	release()
	harness.Eventually(t, 15*time.Second, "registration after the lock", func() error {
		_, err := during.TryRegister(authKey)
		return err
	})
	st.Wait(t, "the new node", updateTimeout, func(v *harness.View) bool { return v.Sees(during) })
	before := s.Nodes()
	s.Kill()
	s.Restart(t)
	if after := s.Nodes(); len(after) != len(before) || len(after) != 2 {
		t.Errorf("%d nodes before the restart, %d after it", len(before), len(after))
	}
}

// TestStartLocked starts a server while its database is locked. It must report that and start when the lock is released, or end with a
// clear error.
func TestStartLocked(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	s.ReusableKey("alice")
	s.Stop()
	release, err := lock(t, filepath.Join(s.Dir, "db.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Spawn(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Exited():
		if log := s.Log(); !strings.Contains(log, "locked") || !strings.Contains(log, "db.sqlite") {
			t.Errorf("the error does not name the locked database: %s", s.LogTail(10))
		}
		release()
		if err := s.Spawn(); err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		release()
	}
	if err := s.WaitHealthy(20 * time.Second); err != nil {
		t.Error(err)
	}
}

// TestSecondServer starts a second server on the database of a running one.
func TestSecondServer(t *testing.T) {
	t.Parallel()
	first := harness.Start(t)
	authKey := first.ReusableKey("alice")
	n := first.NewNode(t, "n")
	st := n.Join(authKey)
	second := harness.Prepare(t, harness.Set("database.sqlite.path", filepath.Join(first.Dir, "db.sqlite")))
	if err := second.Spawn(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-second.Exited():
	case <-time.After(15 * time.Second):
		t.Fatal("the second server started")
	}
	if second.ExitCode() == 0 {
		t.Error("the second server ended with status 0")
	}
	if log := second.Log(); !strings.Contains(log, "db.sqlite") {
		t.Errorf("the refusal does not name the database: %s", second.LogTail(10))
	}
	if err, ended := st.Ended(); ended {
		t.Errorf("the first server's stream ended: %v", err)
	}
	checkJoin(t, first, authKey)
	// The lock is released when the process ends, even if it was killed.
	first.Kill()
	first.Restart(t)
	if len(first.Nodes()) != 2 {
		t.Errorf("%d nodes", len(first.Nodes()))
	}
}

// TestNoFiles exhausts the server's file descriptors. It must answer again when some are free.
func TestNoFiles(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.UnderLimit("--nofile=128"))
	authKey := s.ReusableKey("alice")
	n := s.NewNode(t, "n")
	st := n.Join(authKey)
	hold := make([]io.Closer, 0, 300)
	for range 300 {
		conn, err := dial(s.Host())
		if err != nil {
			break
		}
		hold = append(hold, conn)
	}
	for _, c := range hold {
		c.Close()
	}
	if err := s.WaitHealthy(15 * time.Second); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 10*time.Second, "a new node can join", func() error {
		_, err := s.NewNode(t, "later").TryRegister(authKey)
		return err
	})
	if err, ended := st.Ended(); ended {
		t.Errorf("an open stream ended: %v", err)
	}
}

// TestStopLeavesOneFile copies only the database file after a graceful shutdown, as some backups do. It must contain everything.
func TestStopLeavesOneFile(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	for i := range 30 {
		s.CreateUser(fmt.Sprintf("user%d", i))
	}
	s.Stop()
	for _, name := range []string{"db.sqlite-wal", "db.sqlite-shm"} {
		if _, err := os.Stat(filepath.Join(s.Dir, name)); err == nil {
			t.Errorf("%s still exists after a shutdown", name)
		}
	}
	data, err := os.ReadFile(filepath.Join(s.Dir, "db.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	copied := harness.Start(t, harness.File("db.sqlite", string(data)))
	if users := copied.Users(); len(users) != 30 {
		t.Errorf("%d users in the copy", len(users))
	}
}

// TestBackup backs up the database of a running server, destroys the original and continues with the backup. The node must reconnect
// without a login.
func TestBackup(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	n := s.NewNode(t, "kept")
	n.Join(s.ReusableKey("alice"))
	before, _ := n.APINode()
	file := filepath.Join(s.Dir, "backup.db")
	s.MustCLI(t, nil, "backup", file)
	if out, err := s.CLI("backup", file); err == nil {
		t.Errorf("a second backup replaced the first: %s", out)
	}
	s.CreateUser("later")
	s.Kill()
	if err := os.Rename(file, filepath.Join(s.Dir, "db.sqlite")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"db.sqlite-wal", "db.sqlite-shm"} {
		os.Remove(filepath.Join(s.Dir, name))
	}
	s.Restart(t)
	if users := s.Users(); len(users) != 1 {
		t.Errorf("users of the copy: %v", users)
	}
	self := n.Fresh().Self
	if self == nil || fmt.Sprint(int64(self.ID)) != before.ID || self.Addresses[0].Addr() != before.IPAddresses[0] {
		t.Errorf("the node came back as another: %+v, was %+v", self, before)
	}
}

// TestSocketPath puts a file at the path of the socket, which must not be deleted. A second server must not take the socket of a
// running one.
func TestSocketPath(t *testing.T) {
	t.Parallel()
	s := harness.Prepare(t)
	if err := os.WriteFile(s.Socket, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(); err == nil {
		t.Error("the server started with a file at the path of its socket")
	}
	if log := s.Log(); !strings.Contains(log, "unix_socket") {
		t.Errorf("the refusal does not name the setting: %s", s.LogTail(5))
	}
	if data, _ := os.ReadFile(s.Socket); string(data) != "precious" {
		t.Errorf("the file is now %q", data)
	}

	first := harness.Start(t)
	second := harness.Prepare(t, harness.Set("unix_socket", first.Socket))
	if err := second.Run(); err == nil {
		t.Error("a second server took the socket")
	}
	first.MustCLI(t, nil, "users", "list")
	first.Kill()
	// A socket that is left behind by a crash does not prevent a start.
	first.Restart(t)
	first.MustCLI(t, nil, "users", "list")
}
