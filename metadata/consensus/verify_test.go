package consensus

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"github.com/atolldb/atoll/raftfsm"
)

var harms = flag.Int("harms", 300, "damaged files in TestDamagedStore")

// used makes the directory of a stopped node, with a log behind a snapshot, and returns its log.
func used(t *testing.T) (dir string, logs map[uint64]*raft.Log) {
	t.Helper()
	dir = t.TempDir()
	c := testConfig(t, dir)
	c.TrailingLogs = 5
	r := run(t, c)
	r.ready()
	create := func(from, to int) {
		for i := from; i < to; i++ {
			if _, err := r.Propose(t.Context(), &raftfsm.CreateNamespace{Name: fmt.Sprintf("ns%d", i)}, ProposeOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	create(0, 20)
	if err := r.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	create(20, 40)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(c.AdminTokenFile); err != nil { // the test's own place for it
		t.Fatal(err)
	}
	logs = make(map[uint64]*raft.Log)
	if _, err := readBolt(filepath.Join(dir, boltFile), func(l *raft.Log, err error) {
		if err != nil {
			t.Fatal(err)
		}
		logs[l.Index] = l
	}); err != nil {
		t.Fatal(err)
	}
	return dir, logs
}

func check(t *testing.T, dir string) (Verified, []Finding) {
	t.Helper()
	var found []Finding
	sum, err := Verify(t.Context(), dir, "meta1", func(f Finding) { found = append(found, f) })
	if err != nil {
		t.Fatal(err)
	}
	return sum, found
}

// TestDamagedStore flips bits in Raft's store, and cuts it: an entry that is read is the one that was written, and
// what is wrong is an error, not the end of the process. Not all of the file is in use, so some harms
// change nothing. The number of a tree's page may turn into that of an older one of the same tree, which is whole: about
// one flip in ten thousand hides the log's end.
func TestDamagedStore(t *testing.T) {
	dir, logs := used(t)
	if sum, found := check(t, dir); len(found) > 0 || sum.Entries != uint64(len(logs)) || sum.Snapshots != 1 {
		t.Fatalf("clean: %+v, %+v", sum, found)
	}
	path := filepath.Join(dir, boltFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	refused, hidden := 0, 0
	for i := range *harms {
		bad, how := bytes.Clone(good), ""
		if at := rng.IntN(len(bad)); i%10 == 0 {
			bad, how = bad[:at], fmt.Sprintf("a cut at byte %d", at)
		} else {
			for bad[at] == 0 && i%10 != 1 { // most of the file is empty
				at = rng.IntN(len(bad))
			}
			bad[at] ^= 1 << rng.IntN(8)
			how = fmt.Sprintf("a flip at byte %d", at)
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		read := 0
		_, err := readBolt(path, func(l *raft.Log, e error) {
			if err := e; err != nil {
				refused++
				return
			}
			read++
			want := logs[l.Index]
			if want == nil || l.Term != want.Term || l.Type != want.Type || !bytes.Equal(l.Data, want.Data) {
				t.Errorf("seed %d, %s: entry %d reads as %+v, want %+v", seed, how, l.Index, l, want)
			}
		})
		if err != nil {
			refused++
		}
		_, found := check(t, dir)
		if len(found) == 0 && (err != nil || read != len(logs)) {
			t.Logf("seed %d, %s: %d entries read, error %v, and the check finds nothing", seed, how, read, err)
			hidden++
		}
	}
	t.Logf("%d harms, %d errors, %d hidden", *harms, refused, hidden)
	if refused < *harms/10 || hidden > 1+*harms/1000 {
		t.Errorf("%d errors in %d harms, %d hidden", refused, *harms, hidden)
	}
}

// TestDamageIsRefusedAtTheStart: entries, values, snapshots and the reach of the log.
func TestDamageIsRefusedAtTheStart(t *testing.T) {
	put := func(bucket, key string, change func([]byte) []byte) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			db, err := bbolt.Open(filepath.Join(dir, boltFile), 0o600, &bbolt.Options{Timeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(tx *bbolt.Tx) error {
				b := tx.Bucket([]byte(bucket))
				k := []byte(key)
				if key == "" {
					k, _ = b.Cursor().Last()
				}
				return b.Put(bytes.Clone(k), change(bytes.Clone(b.Get(k))))
			})
			if err = errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	snapshot := func(change func(t *testing.T, dir string)) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			list, err := os.ReadDir(filepath.Join(dir, snapshotsDir, snapshotsDir))
			if err != nil || len(list) != 1 {
				t.Fatal(list, err)
			}
			change(t, filepath.Join(dir, snapshotsDir, snapshotsDir, list[0].Name()))
		}
	}
	replace := func(name, from, to string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil && !bytes.Contains(b, []byte(from)) {
				err = errors.New("it isn't there")
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name), bytes.Replace(b, []byte(from), []byte(to), 1), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	for _, c := range []struct {
		name, what string
		harm       func(t *testing.T, dir string)
	}{
		{"an entry", "raft log", put("logs", "", flip)},
		{"the term", "CurrentTerm", put("conf", "CurrentTerm", flip)},
		{"the vote", "LastVoteCand", put("conf", "LastVoteCand", flip)},
		{"a snapshot that can't be read", "begins at entry", snapshot(replace("meta.json", "{", "["))},
		{"no snapshot", "begins at entry", snapshot(func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		})},
		{"a snapshot of another place", "says term", snapshot(replace("meta.json", `"Index":`, `"Index":1`))},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, _ := used(t)
			c.harm(t, dir)
			n, err := Open(testConfig(t, dir))
			if err == nil {
				t.Fatal("it opens", n.Close())
			}
			if !errors.Is(err, ErrDamage) || !strings.Contains(err.Error(), c.what) {
				t.Errorf("refused with %v", err)
			}
			if _, found := check(t, dir); !slices.ContainsFunc(found, func(f Finding) bool { return f.File != "" && f.What != "" }) {
				t.Errorf("the check finds %+v", found)
			}
		})
	}
}

// TestStrangerInTheDirectory: the check names what belongs to nothing.
func TestStrangerInTheDirectory(t *testing.T) {
	dir, _ := used(t)
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, found := check(t, dir); len(found) != 1 || !strings.Contains(found[0].What, "belongs to nothing") {
		t.Errorf("found %+v", found)
	}
}

// TestKilledAtFirstStart: a store without anything in it is begun anew.
func TestKilledAtFirstStart(t *testing.T) {
	dir := t.TempDir()
	db, err := bbolt.Open(filepath.Join(dir, boltFile), 0o600, nil)
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, testConfig(t, dir))
	r.ready()
}
