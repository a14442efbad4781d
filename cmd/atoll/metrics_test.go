package main

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolldb/atoll/datanode"
	"github.com/atolldb/atoll/metadata"
	"github.com/atolldb/atoll/rpc/metric"
)

const metricsFile = "../../deploy/METRICS.md"

// TestMetricsReference holds METRICS.md to the descriptors of the registry.
func TestMetricsReference(t *testing.T) {
	want := metricsReference(t)
	if *update {
		if err := os.WriteFile(metricsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(metricsFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("deploy/METRICS.md is not what the registry says: run go test ./cmd/atoll -run TestMetricsReference -update")
	}
}

// described is a metric as its descriptor says.
type described struct{ help, labels string }

// describe returns a registry's metrics of Atoll by name. A descriptor tells what it has as text alone.
func describe(t *testing.T, r *prometheus.Registry) map[string]described {
	t.Helper()
	c := make(chan *prometheus.Desc)
	go func() {
		defer close(c)
		r.Describe(c)
	}()
	all := map[string]described{}
	pattern := regexp.MustCompile(`^Desc\{fqName: "(\w+)", help: "(.*?)"(?:, unit: "\w*")?, constLabels: \{\}, variableLabels: \{([\w,]*)\}\}$`)
	for d := range c {
		if !strings.Contains(d.String(), `fqName: "atoll_`) {
			continue
		}
		parts := pattern.FindStringSubmatch(d.String())
		if parts == nil {
			t.Errorf("a descriptor in another form: %s", d)
			continue
		}
		all[parts[1]] = described{parts[2], strings.ReplaceAll(parts[3], ",", ", ")}
	}
	return all
}

func metricsReference(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`# Metrics

Made from the descriptors of the registry by ` + "`go test ./cmd/atoll -run TestMetricsReference -update`" + `.

With ` + "`metrics-addr`" + ` a process serves these at ` + "`/metrics`" + ` in Prometheus' form, with those of the Go runtime (` + "`go_*`" + `) and of the
process (` + "`process_*`" + `). Counters begin anew with a process. ` + "`namespace`" + ` is a namespace's name, or ` + "`_other`" + ` for all that have no
label of their own: see ` + "`metrics-namespaces`" + ` in [CONFIG.md](../cmd/atoll/CONFIG.md). A renamed namespace goes on under its new name.
`)
	for _, part := range []struct {
		title string
		meta  *metadata.Node
		data  *datanode.Node
	}{{"Every process", nil, nil}, {"With a metadata node", new(metadata.Node), nil}, {"With a data node", nil, new(datanode.Node)}} {
		r, err := newRegistry(part.meta, part.data, 1)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\n## %s\n\n| metric | kind | labels | what |\n|---|---|---|---|\n", part.title)
		all := describe(t, r)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if name == "atoll_build_info" && (part.meta != nil || part.data != nil) {
				continue
			}
			kind := "gauge"
			if metric.IsCounter(name) {
				kind = "counter"
			} else if metric.IsHistogram(name) {
				kind = "histogram"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, kind, all[name].labels, all[name].help)
		}
	}
	return b.String()
}
