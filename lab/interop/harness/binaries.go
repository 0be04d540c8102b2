package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Versions of the official client that take part in the mixed meshes.
// The first and the last run everywhere, those between only with [All].
const (
	OldestClient = "1.80.3"
	NewestClient = "1.102.5"
)

// MiddleClients are built and run only when [All] says so: each costs minutes to build.
var MiddleClients = []string{"1.90.9", "1.98.10"}

// All reports whether the long programme was asked for: HEADSAIL_INTEROP_ALL=1, which is what `cargo xtask interop --all` sets.
func All() bool { return os.Getenv("HEADSAIL_INTEROP_ALL") == "1" }

// InCI reports whether a missing prerequisite is a failure rather than a reason to skip.
func InCI() bool { return os.Getenv("CI") != "" }

// moduleRoot is the folder of this Go module, found from this source file.
func moduleRoot() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(file))
}

// repoRoot is the root of the Headsail repository.
func repoRoot() string { return filepath.Dir(filepath.Dir(moduleRoot())) }

// HeadsailBinary returns the server under test: HEADSAIL_BIN when set, else the newest of target/release and target/debug.
func HeadsailBinary() (string, error) {
	if path := os.Getenv("HEADSAIL_BIN"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("HEADSAIL_BIN: %w", err)
		}
		return filepath.Abs(path)
	}
	target := os.Getenv("CARGO_TARGET_DIR")
	if target == "" {
		target = filepath.Join(repoRoot(), "target")
	}
	var best string
	var bestInfo os.FileInfo
	for _, profile := range []string{"release", "debug"} {
		path := filepath.Join(target, profile, "headsail")
		if info, err := os.Stat(path); err == nil && (bestInfo == nil || info.ModTime().After(bestInfo.ModTime())) {
			best, bestInfo = path, info
		}
	}
	if best == "" {
		return "", fmt.Errorf("no headsail binary under %s: run `cargo build` first or set HEADSAIL_BIN", target)
	}
	return best, nil
}

// IsDebugBuild reports whether the server under test was built without optimisation; time bounds that speak of a release build are then widened.
func IsDebugBuild() bool {
	path, err := HeadsailBinary()
	return err == nil && strings.Contains(path, string(filepath.Separator)+"debug"+string(filepath.Separator))
}

// CacheDir is where built clients live between runs, outside the clone: HEADSAIL_INTEROP_CACHE or the user's cache folder.
func CacheDir() (string, error) {
	if dir := os.Getenv("HEADSAIL_INTEROP_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder, set HEADSAIL_INTEROP_CACHE: %w", err)
	}
	return filepath.Join(base, "headsail-interop"), nil
}

// OfficialClient returns the folder that holds `tailscale` and `tailscaled` of one release, building them on first use.
// Several test processes may ask at once: a file lock lets one build and the others wait.
func OfficialClient(version string) (string, error) {
	return builtOnce(version, []string{"tailscale", "tailscaled"}, func(dir string) error {
		return goInstall(dir, "tailscale.com/cmd/tailscaled@v"+version, "tailscale.com/cmd/tailscale@v"+version)
	})
}

// OfficialTool returns the path of one more official program (derper, for instance) of the newest release.
func OfficialTool(name string) (string, error) {
	dir, err := builtOnce(NewestClient+"-"+name, []string{name}, func(dir string) error {
		return goInstall(dir, "tailscale.com/cmd/"+name+"@v"+NewestClient)
	})
	return filepath.Join(dir, name), err
}

func goInstall(dir string, packages ...string) error {
	cmd := exec.Command("go", append([]string{"install"}, packages...)...)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod -buildvcs=false", "GOTOOLCHAIN=local")
	cmd.Dir = os.TempDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go install %s: %w\n%s", strings.Join(packages, " "), err, out)
	}
	return nil
}

// builtOnce makes sure that the named files exist in the cache folder `name` and calls build when they don't.
func builtOnce(name string, files []string, build func(dir string) error) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	complete := func() bool {
		for _, file := range files {
			if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
				return false
			}
		}
		return true
	}
	if complete() {
		return dir, nil
	}
	unlock, err := lockFile(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if complete() {
		return dir, nil
	}
	if err := build(dir); err != nil {
		return "", err
	}
	if !complete() {
		return "", errors.New("the build of " + name + " left files missing: want " + strings.Join(files, ", "))
	}
	return dir, nil
}

func lockFile(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, err
	}
	return func() { file.Close() }, nil
}
