package integration

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var testPackage = flag.Bool("package", false, "build the Debian package and look into it")

// TestUnits has systemd check the units, and how much of the system a broken node could reach.
func TestUnits(t *testing.T) {
	needProgram(t, "systemd-analyze")
	const worst = 15 // of 100
	for _, kind := range []string{"server", "meta", "data"} {
		data, err := os.ReadFile("../deploy/systemd/atoll-" + kind + ".service")
		if err != nil {
			t.Fatal(err)
		}
		// The program and its manual aren't installed here.
		text := strings.Replace(string(data), "/usr/bin/atoll "+kind+" --config /etc/atoll/"+kind+".yaml", "/bin/true", 1)
		text = strings.Replace(text, " man:atoll-"+kind+"(1)", "", 1)
		path := filepath.Join(t.TempDir(), "atoll-"+kind+".service")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "ExecStart=/bin/true\n") {
			t.Errorf("%s starts something else", kind)
		}
		if out, err := exec.Command("systemd-analyze", "verify", path).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("verify %s: %v\n%s", kind, err, out)
		}
		if out, err := exec.Command("systemd-analyze", "security", "--offline=true", fmt.Sprintf("--threshold=%d", worst), path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", kind, err, out)
		}
	}
}

// TestNotify is systemd: it hears when a node is up and when it stops.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hear := func() string {
		b := make([]byte, 512)
		if err := conn.SetReadDeadline(time.Now().Add(readyWait)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	t.Setenv("NOTIFY_SOCKET", path)
	s := startServer(t)
	if got := hear(); got != "READY=1" {
		t.Errorf("it said %q", got)
	}
	s.stop()
	if got := hear(); got != "STOPPING=1" {
		t.Errorf("it said %q", got)
	}
}

// TestPackage builds the Debian package, unpacks it, and runs what is in it with the configuration beside it.
func TestPackage(t *testing.T) {
	if !*testPackage {
		t.Skip("the package is built with -package")
	}
	needProgram(t, "dpkg-deb")
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "../deploy/package/build", dir).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	packages, err := filepath.Glob(filepath.Join(dir, "atoll_*_amd64.deb"))
	if err != nil || len(packages) != 1 {
		t.Fatalf("packages %q, %v", packages, err)
	}
	root := filepath.Join(dir, "root")
	if out, err := exec.Command("dpkg-deb", "-R", packages[0], root).CombinedOutput(); err != nil {
		t.Fatalf("unpack: %v\n%s", err, out)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		if out, err := exec.Command("sh", "-n", filepath.Join(root, "DEBIAN", script)).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
	for _, kind := range []string{"server", "meta", "data"} {
		for _, path := range []string{"lib/systemd/system/atoll-" + kind + ".service", "usr/share/man/man1/atoll-" + kind + ".1.gz"} {
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Error(err)
			}
		}
		out, err := exec.Command(filepath.Join(root, "usr/bin/atoll"), "config", "--changed", "--config", filepath.Join(root, "etc/atoll", kind+".yaml")).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "/var/lib/atoll/"+kind) {
			t.Errorf("%s.yaml: %v\n%s", kind, err, out)
		}
	}
}
