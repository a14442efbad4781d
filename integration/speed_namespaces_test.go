package integration

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// testSpeedNamespaces creates many namespaces through the admin API, and restarts both kinds of node with
// them.
func testSpeedNamespaces(t *testing.T) {
	const callers = 64
	meta := newProcess(t, "meta")
	meta.start()
	meta.waitReady()
	data := meta.joinData()
	data.waitReady()
	last := fmt.Sprintf("the-secret-of-%08d", *speedNamespaces)
	before := residentMiB(t, data)
	admin := meta.admin()

	began := time.Now()
	createTenants(t, admin, callers, 1, *speedNamespaces)
	took := time.Since(began)
	awaitToken(data, last)
	seen := time.Since(began) - took
	after := residentMiB(t, data)

	var metaTook, dataTook []float64
	for range *speedRounds {
		meta.stop()
		began := time.Now()
		meta.start()
		meta.waitReady()
		metaTook = append(metaTook, time.Since(began).Seconds())
		data.stop()
		began = time.Now()
		data.start()
		awaitToken(data, last)
		dataTook = append(dataTook, time.Since(began).Seconds())
	}
	w := table(t, "namespaces\tmeasured\ttarget")
	fmt.Fprintf(w, "creation of %d by %d callers\t%.0f/s\tat least 1000/s\n", *speedNamespaces, callers,
		float64(*speedNamespaces)/took.Seconds())
	fmt.Fprintf(w, "then until the data node knows the last\t%.3f s\t\n", seen.Seconds())
	fmt.Fprintf(w, "metadata node's restart until ready, s\t%s\tbelow 2\n", spread(metaTook))
	fmt.Fprintf(w, "data node's restart until the last token works, s\t%s\tbelow 2\n", spread(dataTook))
	fmt.Fprintf(w, "data node's resident memory, empty, after creation, after a restart, MiB\t%.0f, %.0f, %.0f\tview below 100\n",
		before, after, residentMiB(t, data))
}

// createTenants creates namespaces with the numbers from first to last, so many at once.
func createTenants(t *testing.T, admin *adminapi.Client, callers, first, last int) {
	t.Helper()
	next := atomic.Int64{}
	next.Store(int64(first) - 1)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(last); i = next.Add(1) {
				_, err := admin.CreateNamespace(t.Context(), adminapi.CreateNamespace{
					Name: fmt.Sprintf("tenant-%d", i), Token: &adminapi.CreateToken{Secret: fmt.Sprintf("the-secret-of-%08d", i)},
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// awaitToken waits until a node serves the token.
func awaitToken(p *process, token string) {
	p.t.Helper()
	p.until("serving the token", func(ctx context.Context) error {
		_, err := p.do(ctx, token, "DBSIZE")
		return err
	})
}

// residentMiB reads a running process's resident memory.
func residentMiB(t *testing.T, p *process) float64 {
	t.Helper()
	text := readText(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib / 1024
		}
	}
	return 0 // a system without /proc
}
