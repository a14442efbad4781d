package resp

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/rpc/atollpb"
)

var (
	revokeTrials = flag.Int("revoke.trials", 50, "tokens that TestRevocationCuts revokes; with 1,000 and more the 99th percentile is required to be below 200 ms")
	revokeIdle   = flag.Int("revoke.idle", 200, "connections of other tokens that TestRevocationCuts keeps")
)

// next installs a change of the view.
func (r *rig) next(t testing.TB, f *atollpb.ViewFrame) {
	v := r.Node.Views.Current()
	f.FromRevision, f.Revision, f.Last = v.Revision(), v.Revision()+1, true
	r.Install(t, f)
}

// A revoked token's connections end at once, idle or busy, parked or not, and none of their commands that was sent after
// the revocation had been told is executed.
func TestRevocationCuts(t *testing.T) {
	r := start(t, true, Limits{})
	trials, now := *revokeTrials, time.Now()
	f := &atollpb.ViewFrame{}
	for i := range trials {
		f.Tokens = append(f.Tokens, commandtest.Token(fmt.Sprint("t", i), commandtest.AID, fmt.Sprint("secret", i), atollpb.Role_ROLE_READ_WRITE))
	}
	r.next(t, f)
	var idle []*client
	for range *revokeIdle {
		c := r.as(t, commandtest.BWriteSecret)
		c.say("PING\r\n", 1)
		idle = append(idle, c)
	}
	var took []time.Duration
	var served atomic.Int64
	for i := range trials {
		secret := fmt.Sprint("secret", i)
		parked, busy, fresh := r.as(t, secret), r.as(t, secret), r.as(t, secret)
		parked.say("PING\r\n", 1)
		told, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for alive := true; alive; {
				after := false
				select {
				case <-told: // what is sent from here on comes after the revocation
					after = true
				default:
				}
				if _, err := busy.Write([]byte("INCR n\r\n")); err != nil {
					return
				}
				line, err := busy.r.ReadString('\n')
				if alive = err == nil && !strings.HasPrefix(line, "-"); alive && after {
					served.Add(1)
				}
			}
		}()
		began := time.Now()
		r.next(t, &atollpb.ViewFrame{RemovedTokens: []string{fmt.Sprint("t", i)}})
		close(told)
		var wait sync.WaitGroup
		for _, c := range []*client{parked, fresh} {
			wait.Go(func() {
				if line, err := c.r.ReadString('\n'); err == nil {
					t.Errorf("an idle connection got %q", line)
				}
			})
		}
		wait.Wait()
		took = append(took, time.Since(began))
		<-done
		for _, c := range []*client{parked, busy, fresh} {
			_ = c.Close()
		}
	}
	if n := served.Load(); n > 0 {
		t.Errorf("%d commands were executed after the revocation had been told", n)
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("%d trials beside %d idle connections in %v: cut after %v (median), %v (99th percentile), %v (most)", trials, len(idle),
		time.Since(now).Round(time.Second), took[len(took)/2], p99, took[len(took)-1])
	if trials >= 1000 && p99 > 200*time.Millisecond {
		t.Errorf("the 99th percentile is %v", p99)
	}
	for _, c := range idle {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // many trials take longer than the first one
		if got := c.say("PING\r\n", 1); got != "+PONG\r\n" {
			t.Fatalf("another namespace's connection got %q", got)
		}
	}
}

// A token that expires takes its idle connections with it.
func TestExpiryCutsIdleConnections(t *testing.T) {
	r := start(t, true, Limits{})
	token := commandtest.Token("t-short", commandtest.AID, "short", atollpb.Role_ROLE_READ_WRITE)
	token.ExpiresMs = time.Now().Add(300 * time.Millisecond).UnixMilli()
	r.next(t, &atollpb.ViewFrame{Tokens: []*atollpb.Token{token}})
	c := r.as(t, "short")
	if line, err := c.r.ReadString('\n'); err == nil {
		t.Errorf("the connection got %q", line)
	}
	if time.Now().UnixMilli() < token.GetExpiresMs() {
		t.Error("it ended too early")
	}
}
