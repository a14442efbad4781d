package metadata

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// createMany makes namespaces with a token each, by 64 callers, and returns how many a second.
func createMany(b *testing.B, p *process, prefix string, n int) float64 {
	var next atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for range 64 {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(n) {
					return
				}
				name := fmt.Sprintf("%s%d", prefix, i)
				hash := sha256.Sum256([]byte(name))
				_, err := p.node.consensus.Propose(b.Context(), &raftfsm.CreateNamespace{Name: name, Tokens: []raftfsm.NewToken{
					{ID: newID(), Hash: hash[:], Role: atollpb.Role_ROLE_READ_WRITE},
				}}, consensus.ProposeOptions{Actor: "bench"})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(n) / time.Since(begin).Seconds()
}

// BenchmarkCreateNamespaces64 creates namespaces with 64 callers on one voter.
func BenchmarkCreateNamespaces64(b *testing.B) {
	p := newProcess(b, "meta1")
	p.ready()
	b.ResetTimer()
	b.ReportMetric(createMany(b, p, "n", b.N), "creates/s")
}

// BenchmarkRestart100k starts a voter that holds 100,000 namespaces with a token each, until it serves:
// from the snapshot that a clean end takes, and from the last one of a killed process and its log.
func BenchmarkRestart100k(b *testing.B) {
	p := newProcess(b, "meta1")
	p.ready()
	b.Logf("%.0f creates/s", createMany(b, p, "n", 100_000))
	for b.Loop() {
		b.StopTimer()
		p.stop()
		b.StartTimer()
		p.start()
		p.ready()
	}
}
