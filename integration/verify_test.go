package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// verified is what `atoll debug verify --output json` prints.
type verified struct {
	Findings []struct {
		File       string   `json:"file"`
		Offset     *int64   `json:"offset"`
		What       string   `json:"what"`
		Namespaces []string `json:"namespaces"`
	} `json:"findings"`
	Data struct {
		Rows       uint64 `json:"rows"`
		Entries    uint64 `json:"entries"`
		Namespaces int    `json:"namespaces"`
	} `json:"data"`
	Metadata struct {
		Entries uint64 `json:"entries"`
	} `json:"metadata"`
}

// verify checks the directory of a process that has ended.
func (p *process) verify() verified {
	p.t.Helper()
	stdout, stderr, err := p.cli("debug", "verify", "--data-dir", p.dir, "--output", "json")
	var v verified
	if e := json.Unmarshal([]byte(stdout), &v); e != nil {
		p.t.Fatalf("debug verify: %v, %v\n%s%s", err, e, stdout, stderr)
	}
	if (err != nil) != (len(v.Findings) > 0) {
		p.t.Fatalf("debug verify ends with %v and prints\n%s%s", err, stdout, stderr)
	}
	return v
}

// files returns the content of every file of a directory.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

const largeMark = "the one row that is to break"

// harmRow flips a bit of the row that starts with largeMark, and returns its file.
func (p *process) harmRow() string {
	p.t.Helper()
	harmed := ""
	err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".sst") {
			return err
		}
		b, err := os.ReadFile(path)
		if at := bytes.Index(b, []byte(largeMark)); err == nil && at >= 0 {
			b[at] ^= 1
			harmed = path
			return os.WriteFile(path, b, 0o600)
		}
		return err
	})
	if err != nil || harmed == "" {
		p.t.Fatalf("the row is in no sstable: %v", err)
	}
	return harmed
}

// TestDebugVerify: the command refuses a directory in use, finds nothing in that of a killed process, changes
// nothing, and names file and namespace of what is broken. The node says the same when it meets it.
func TestDebugVerify(t *testing.T) {
	server := startServer(t)
	token := server.createNamespace("acme")
	large := make([]byte, 64<<10) // has a block of its own
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range large {
		large[i] = byte(rng.Uint32())
	}
	copy(large, largeMark)
	for _, key := range []string{"large", "larger"} { // a row before it, for the block of the system's rows
		if _, err := server.do(t.Context(), "", "SET", key, large[len(largeMark):]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := server.do(t.Context(), token, "SET", "large", large); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		for _, tok := range []string{"", token} {
			if _, err := server.do(t.Context(), tok, "SET", fmt.Sprintf("key:%d", i), strings.Repeat("x", i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, stderr, err := server.cli("debug", "verify", "--data-dir", server.dir); err == nil || !strings.Contains(stderr, "another process uses it") {
		t.Errorf("a directory in use: %v, %s", err, stderr)
	}
	server.kill()
	before := files(t, server.dir)
	v := server.verify()
	if len(v.Findings) > 0 || v.Data.Rows < 400 || v.Data.Entries < 400 || v.Data.Namespaces != 2 || v.Metadata.Entries == 0 {
		t.Errorf("of a killed process: %+v", v)
	}
	if after := files(t, server.dir); !maps.Equal(before, after) {
		t.Error("the check has changed the directory")
	}
	if out := server.mustCLI("debug", "verify", "--data-dir", server.dir); !strings.Contains(out, "rows in 2 namespaces") {
		t.Errorf("the table says %s", out)
	}
	if _, stderr, err := server.cli("debug", "verify", "--data-dir", t.TempDir()); err == nil || !strings.Contains(stderr, "not Atoll's") {
		t.Errorf("somebody else's directory: %v, %s", err, stderr)
	}

	server.restart()
	server.stop() // flushes, so that the rows are in sstables
	harmed := server.harmRow()
	v = server.verify()
	if len(v.Findings) == 0 {
		t.Fatal("nothing is found")
	}
	if out, _, err := server.cli("debug", "verify", "--data-dir", server.dir); err == nil || !strings.Contains(out, harmed+":") || !strings.Contains(out, "[hits acme]") {
		t.Errorf("ends with %v and says\n%s", err, out)
	}
	stray := filepath.Join(server.dir, "data", "generations")
	if err := errors.Join(os.Rename(stray, stray+".aside"), os.WriteFile(stray, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if out, _, err := server.cli("debug", "verify", "--data-dir", server.dir); err == nil || !strings.Contains(out, "can't be checked") || !strings.Contains(out, "metadata:") {
		t.Errorf("of a part that can't be read it says %v\n%s", err, out)
	}
	if err := errors.Join(os.Remove(stray), os.Rename(stray+".aside", stray)); err != nil {
		t.Fatal(err)
	}
	server.start()
	server.waitReady()
	if _, err := server.do(t.Context(), token, "GET", "large"); err == nil || !strings.HasPrefix(err.Error(), "DAMAGED ") {
		t.Errorf("the broken row is read as %v", err)
	}
	if _, err := server.do(t.Context(), "", "SET", "other", "1"); err == nil || !strings.HasPrefix(err.Error(), "DAMAGED ") {
		t.Errorf("a write: %v", err)
	}
	if got, err := server.do(t.Context(), "", "GET", "key:3"); err != nil || got != "xxx" {
		t.Errorf("what is whole is read as %v, %v", got, err)
	}
	if _, stderr, err := server.cli("health", "--resp-addr", server.respAddr, "--http-addr", server.httpAddr); err == nil || !strings.Contains(stderr, "DAMAGED") {
		t.Errorf("health says %v, %s", err, stderr)
	}
	server.waitLog("a file of rows is damaged")
	if out := server.mustCLI("node", "list"); !strings.Contains(out, "read-only") {
		t.Errorf("node list says\n%s", out)
	}
	if info, err := server.do(t.Context(), server.adminToken(), "INFO", "node"); err != nil || !strings.Contains(fmt.Sprint(info), "node_damaged:1") {
		t.Errorf("INFO says %v, %v", info, err)
	}
}

// TestVerifyReplica: what a killed replica leaves is clean too, after a full sync and on the log.
func TestVerifyReplica(t *testing.T) {
	server := startServer(t)
	token := server.createNamespace("acme")
	write := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if _, err := server.do(t.Context(), token, "HSET", "h", fmt.Sprintf("field:%d", i), i); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(0, 200)
	replica := server.joinData("--node-id", "second")
	replica.waitReady()
	write(200, 400)
	replica.until("showing the last field", func(ctx context.Context) error {
		got, err := replica.do(ctx, token, "HGET", "h", "field:399")
		if err == nil && got != "399" {
			err = fmt.Errorf("it is %v", got)
		}
		return err
	})
	replica.kill()
	if v := replica.verify(); len(v.Findings) > 0 || v.Data.Rows == 0 {
		t.Errorf("%+v", v)
	}
}
