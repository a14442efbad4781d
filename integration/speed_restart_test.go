package integration

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// testSpeedRestart measures, with many keys, how long a server takes from its start to its first GET, after a
// clean stop and after SIGKILL under load, and what its memory and disk hold.
func testSpeedRestart(t *testing.T) {
	p := startServer(t)
	keys := *speedRestartKeys
	fill := func() {
		p.bench("--a", p.respAddr, "--keys", strconv.Itoa(keys), "--workloads", "get", "--pipelines", "16", "--rounds", "1", "--duration", "1s", "--warm=false")
	}
	fill()
	first := func() float64 {
		began := time.Now()
		p.start()
		p.until("the first GET", func(ctx context.Context) error {
			got, err := p.do(ctx, "", "GET", fmt.Sprintf("key:%012d", keys-1))
			if err == nil && len(fmt.Sprint(got)) != 100 {
				t.Fatalf("GET: %q", got)
			}
			return err
		})
		return time.Since(began).Seconds()
	}
	var stopped, killed []float64
	for range *speedRounds {
		p.stop()
		stopped = append(stopped, first())
		var wg sync.WaitGroup
		wg.Go(func() { // SIGKILL finds it writing; the load ends with it
			_, _, _ = p.cli("bench", "--a", p.respAddr, "--keys", strconv.Itoa(keys), "--workloads", "set", "--pipelines", "16",
				"--rounds", "1", "--duration", "1m", "--fill=false", "--warm=false")
		})
		time.Sleep(2 * time.Second) // not ordering: any moment of the load will do
		p.kill()
		wg.Wait()
		killed = append(killed, first())
	}
	fill()
	w := table(t, "restart\tmeasured\ttarget")
	fmt.Fprintf(w, "first GET of %d keys after a stop, s\t%s\tbelow 2\n", keys, spread(stopped))
	fmt.Fprintf(w, "after SIGKILL under load, s\t%s\tbelow 2\n", spread(killed))
	fmt.Fprintf(w, "resident memory under load, MiB\t%.0f\t\n", residentMiB(t, p))
	log, rows := diskBytes(t, p.dir, ".log"), diskBytes(t, p.dir, ".sst")
	fmt.Fprintf(w, "disk bytes a key: sstables, log\t%.0f, %.0f\t\n", float64(rows)/float64(keys), float64(log)/float64(keys))
}

// testSpeedCopy measures a full sync of many keys against cp and sync of the same files on the same disk, and what
// it takes from the primary's throughput meanwhile.
func testSpeedCopy(t *testing.T) {
	p := startServer(t)
	keys := *speedRestartKeys
	load := []string{"--a", p.respAddr, "--keys", strconv.Itoa(keys), "--workloads", "set", "--pipelines", "1", "--rounds", "1", "--warm=false"}
	p.bench(append(load, "--duration", "1s")...)
	var alone, beside, synced, copied []float64
	for range *speedRounds {
		alone = append(alone, p.bench(append(load, "--fill=false", "--duration", "5s")...)[0].A.Rate)
		var wg sync.WaitGroup
		rate := 0.0
		wg.Go(func() { rate = p.bench(append(load, "--fill=false", "--duration", "5s")...)[0].A.Rate })
		sink := newProcess(t, "data", "--join", p.cluster)
		sink.start()
		sink.waitReady()
		wg.Wait()
		beside = append(beside, rate)
		sink.stop()
		removeNode(t, p.admin(), sink.cluster)

		time.Sleep(checkpointShared) // not ordering: the next sink's checkpoint is its own
		sink = newProcess(t, "data", "--join", p.cluster)
		began := time.Now()
		sink.start()
		sink.waitReady()
		synced = append(synced, time.Since(began).Seconds())
		sink.stop()
		removeNode(t, p.admin(), sink.cluster)

		to := t.TempDir()
		files, err := filepath.Glob(filepath.Join(p.dir, "data", "generations", "*", "pebble"))
		if err != nil || len(files) != 1 {
			t.Fatalf("the primary's sstables are in %q: %v", files, err)
		}
		began = time.Now()
		// A compaction may take a file away while cp lists them; what it copies is as much either way.
		if out, err := exec.Command("cp", "-r", files[0], to).CombinedOutput(); err != nil && !strings.Contains(string(out), "No such file") {
			t.Fatalf("%v: %s", err, out)
		}
		if out, err := exec.Command("sync", "-f", to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		copied = append(copied, time.Since(began).Seconds())
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
	}
	w := table(t, "full sync\tmeasured\ttarget")
	fmt.Fprintf(w, "%d keys, from the start of the sink's process, s\t%s\t\n", keys, spread(synced))
	fmt.Fprintf(w, "cp -r and sync -f of its sstables, s\t%s\tat least half of that\n", spread(copied))
	fmt.Fprintf(w, "the primary's SET/s alone, and while it syncs\t%.0f, %.0f: %.2f\tat least 0.80\n",
		median(alone), median(beside), median(beside)/median(alone))
}

// diskBytes sums up the files below a directory whose names end so.
func diskBytes(t *testing.T, dir, suffix string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, suffix) {
			return nil // files come and go
		}
		if info, err := d.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
