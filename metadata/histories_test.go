package metadata

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolldb/atoll/rpc/adminapi"
)

var (
	historyRounds = flag.Int("histories.rounds", 8, "changes of the leader that TestP2HTTPHistories makes, every other one by a kill")
	historySeed   = flag.Uint64("histories.seed", 0, "of TestP2HTTPHistories's random numbers; 0: another one each time")
)

// The errors of a connection that loses requests and replies.
var (
	errNotSent = errors.New("cut before the request was sent")
	errLost    = errors.New("cut before the reply was read")
)

// lossy is a network between a client and the service that loses every fifth request or reply.
type lossy struct {
	base   http.RoundTripper
	mu     sync.Mutex
	random *rand.Rand
}

func (l *lossy) roll(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.random.IntN(n)
}

// RoundTrip implements http.RoundTripper.
func (l *lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	luck := l.roll(100)
	if luck < 5 {
		return nil, errNotSent
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if luck < 12 { // while the service is at it
		defer time.AfterFunc(time.Duration(l.roll(10_000))*time.Microsecond, cancel).Stop()
	}
	resp, err := l.base.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil || luck < 20 {
		return nil, errors.Join(errLost, err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// storm is a cluster whose leader changes while clients work.
type storm struct {
	t       *testing.T
	nodes   []*process
	addrs   [3]atomic.Pointer[string] // of the nodes' HTTP ports
	secret  string                    // the admin's token
	http    *http.Client
	network *lossy
	history history
	begin   time.Time
	stop    chan struct{}
}

func newStorm(t *testing.T) *storm {
	seed := *historySeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-histories.seed %d", seed)
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	network := &lossy{base: transport, random: rand.New(rand.NewPCG(seed, 0))}
	s := &storm{t: t, nodes: newCluster(t), network: network, http: &http.Client{Transport: network}, begin: time.Now(), stop: make(chan struct{})}
	for i := range s.nodes {
		s.moved(i)
	}
	secret, err := os.ReadFile(filepath.Join(s.nodes[0].dir, "admin-token"))
	if err != nil {
		t.Fatal(err)
	}
	s.secret = strings.TrimSpace(string(secret))
	return s
}

// moved notes where a node listens since its start.
func (s *storm) moved(i int) {
	addr := s.nodes[i].node.config.HTTPAddr
	s.addrs[i].Store(&addr)
}

func (s *storm) now() time.Duration { return time.Since(s.begin) }

func (s *storm) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// reply is what came of a request: nothing if it didn't happen.
type reply struct {
	nothing bool
	outcome outcome
	header  http.Header
	code    string // of a problem
}

// ask sends a request to any node, once, and reads the answer into out.
func (s *storm) ask(method, path string, header map[string]string, in, out any) reply {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		s.t.Error(err)
	}
	if in == nil {
		body = nil
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+*s.addrs[s.network.roll(3)].Load()+path, bytes.NewReader(body))
	if err != nil {
		s.t.Error(err)
		return reply{nothing: true}
	}
	r.Header.Set("Authorization", "Bearer "+s.secret)
	r.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := s.http.Do(r)
	if err != nil {
		// That nobody could be reached says nothing of a request with a key: net/http may have sent it before.
		return reply{nothing: errors.Is(err, errNotSent), outcome: unknown}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Error(err)
	}
	if resp.StatusCode/100 == 2 {
		if err := json.Unmarshal(data, out); err != nil {
			s.t.Errorf("%s %s answered %s: %v", method, path, data, err)
		}
		return reply{outcome: done, header: resp.Header}
	}
	var p adminapi.Problem
	if err := json.Unmarshal(data, &p); err != nil {
		s.t.Errorf("%s %s answered %d %s: %v", method, path, resp.StatusCode, data, err)
	}
	switch code := p.Code(); code {
	case adminapi.CodeNoLeader, adminapi.CodeTooMuch, adminapi.CodeUnavailable:
		return reply{nothing: true} // as they say
	case adminapi.CodeIndeterminate:
		return reply{outcome: unknown}
	case adminapi.CodeMismatch, adminapi.CodeExists, adminapi.CodeTokenExists, adminapi.CodePrecondition, adminapi.CodeNotFound:
		return reply{outcome: refused, code: code}
	default:
		s.t.Errorf("%s %s answered %s", method, path, data)
		return reply{outcome: unknown}
	}
}

// settings reads and changes registers until the storm is over.
func (s *storm) settings(client int) {
	for !s.stopped() {
		name := fmt.Sprintf("register%d", s.network.roll(3))
		value, revision, ok := s.look(client, name)
		if !ok || s.network.roll(3) == 0 {
			continue
		}
		op := registerChange{name: name, expect: value, set: crand.Text(), outcome: unknown}
		header := map[string]string{adminapi.IfMatch: adminapi.ETag(revision)}
		attempts := 1
		if s.network.roll(2) == 0 {
			header[adminapi.IdempotencyKey], attempts = crand.Text(), 20
		}
		in := adminapi.UpdateNamespace{Labels: map[string]*string{"v": &op.set}}
		call, happened := s.now(), false
		for range attempts {
			var out adminapi.UpdatedNamespace
			last := s.now()
			r := s.ask(http.MethodPatch, "/v1/namespaces/"+name, header, in, &out)
			happened = happened || !r.nothing
			if r.nothing || r.outcome == unknown {
				continue
			}
			if op.outcome = r.outcome; r.outcome == done {
				s.shown(client, out.Namespace, r, last)
			}
			break
		}
		if happened {
			s.history.add(client, op, call, s.now())
		}
	}
}

// look reads a register.
func (s *storm) look(client int, name string) (value string, revision uint64, ok bool) {
	var n adminapi.Namespace
	call := s.now()
	r := s.ask(http.MethodGet, "/v1/namespaces/"+name, nil, nil, &n)
	if r.outcome == refused {
		s.t.Errorf("%s: %s", name, r.code)
	}
	if r.nothing || r.outcome != done {
		return "", 0, false
	}
	s.shown(client, n, r, call)
	return n.Labels["v"], n.ModifiedRevision, true
}

// shown notes what an answer shows of a register.
func (s *storm) shown(client int, n adminapi.Namespace, r reply, call time.Duration) {
	if r.header.Get("ETag") != adminapi.ETag(n.ModifiedRevision) {
		s.t.Errorf("ETag %s of %+v", r.header.Get("ETag"), n)
	}
	s.history.add(client, registerChange{name: n.Name, read: n.Labels["v"], outcome: done}, call, s.now())
}

// request is one that has an Idempotency-Key and could succeed at any time.
type request struct {
	path, key string
	body      any
	made      string // once it has succeeded
}

// keyed makes namespaces and tokens, and rotates tokens, until the storm is over. Each request is repeated until it
// has succeeded, by two at once at times, and again at any later time.
func (s *storm) keyed(client int) {
	const namespace = "keyed"
	var all []*request
	next := 0 // of all: not rotated yet
	for i := 0; !s.stopped(); i++ {
		key := crand.Text()
		tokens := "/v1/namespaces/" + namespace + "/tokens"
		r := &request{path: tokens, key: key, body: adminapi.CreateToken{Label: key}}
		switch {
		case i%4 == 3:
			r.path, r.body = "/v1/namespaces", adminapi.CreateNamespace{Name: key, Token: &adminapi.CreateToken{Label: key}}
		case i%4 == 2 && next < len(all):
			if old := all[next]; strings.HasPrefix(old.path, tokens) {
				r.path, r.body = tokens+"/"+old.made+"/rotate", adminapi.RotateToken{Label: key, OverlapMs: time.Hour.Milliseconds()}
			}
			next++
		}
		if !s.complete(client, r) {
			return
		}
		all = append(all, r)
		s.attempt(client, all[s.network.roll(len(all))])
	}
	// What was made stays, and is made again by nobody.
	for _, r := range all {
		s.attempt(client, r)
		s.lookFor(client, r)
	}
}

// complete repeats a request until it has succeeded.
func (s *storm) complete(client int, r *request) bool {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && !s.t.Failed(); {
		var made [2]string
		var wg sync.WaitGroup
		for i := range 1 + s.network.roll(2) {
			wg.Go(func() { made[i] = s.attempt(client, r) })
		}
		wg.Wait()
		if r.made = made[0] + made[1]; made[0] == made[1] {
			r.made = made[0]
		}
		if r.made != "" {
			return true
		}
		if s.network.roll(2) == 0 {
			s.lookFor(client, r)
		}
	}
	s.t.Errorf("%s: no outcome in time", r.path)
	return false
}

// attempt sends a request once, and returns the id of what it made, or an empty string.
func (s *storm) attempt(client int, r *request) string {
	op := keyedRequest{key: r.key}
	call := s.now()
	header := map[string]string{adminapi.IdempotencyKey: r.key}
	var got reply
	if r.path == "/v1/namespaces" {
		var out adminapi.CreatedNamespace
		if got = s.ask(http.MethodPost, r.path, header, r.body, &out); got.outcome == done {
			op.made, op.repeated, op.shown = fmt.Sprint(out.Namespace.ID), out.Repeated, out.Token.ID+" "+out.Token.Secret
		}
	} else {
		var out adminapi.CreatedTokenReply
		if got = s.ask(http.MethodPost, r.path, header, r.body, &out); got.outcome == done {
			op.made, op.repeated, op.shown = out.Token.ID, out.Repeated, out.Token.Secret
		}
	}
	if op.outcome = got.outcome; got.nothing {
		return ""
	}
	s.history.add(client, op, call, s.now())
	return op.made
}

// lookFor looks at what a request has made.
func (s *storm) lookFor(client int, r *request) {
	op := keyedRequest{key: r.key, look: true, outcome: done}
	call := s.now()
	if r.path == "/v1/namespaces" {
		var n adminapi.Namespace
		got := s.ask(http.MethodGet, r.path+"/"+r.key, nil, nil, &n)
		switch {
		case got.nothing || got.outcome == unknown:
			return
		case got.outcome == done:
			op.made = fmt.Sprint(n.ID)
		}
		s.history.add(client, op, call, s.now())
		return
	}
	tokens, _, _ := strings.Cut(r.path, "/tokens")
	for after := ""; ; {
		var page adminapi.TokenList
		if got := s.ask(http.MethodGet, tokens+"/tokens?limit=1000&after="+after, nil, nil, &page); got.nothing || got.outcome != done {
			return
		}
		for _, t := range page.Tokens {
			if t.Label == r.key {
				op.made += t.ID // of two it is nobody's id
			}
		}
		if after = page.Next; after == "" {
			break
		}
	}
	s.history.add(client, op, call, s.now())
}

// blow changes the leader: it hands over, or is killed and comes back from its disk.
func (s *storm) blow(kill bool) {
	leader := -1
	s.nodes[0].until("a leader", func() bool {
		for i, p := range s.nodes {
			if leaderOf(s.nodes) == p {
				leader = i
			}
		}
		return leader >= 0
	})
	p := s.nodes[leader]
	if !kill {
		if err := p.node.consensus.Transfer(s.t.Context(), s.nodes[(leader+1)%3].id); err != nil {
			s.t.Logf("transfer from %s: %v", p.id, err)
		}
		return
	}
	if err := p.node.http.Close(); err != nil {
		s.t.Error(err)
	}
	p.kill()
	p.start()
	s.moved(leader)
}

// What If-Match and Idempotency-Key promise holds under lost requests and replies, repetition at other nodes, and
// leaders that hand over, or are killed and come back from a snapshot.
func TestP2HTTPHistories(t *testing.T) {
	s := newStorm(t)
	for _, name := range []string{"register0", "register1", "register2", "keyed"} {
		for made := false; !made; {
			var out adminapi.CreatedNamespace
			r := s.ask(http.MethodPost, "/v1/namespaces", nil, adminapi.CreateNamespace{Name: name}, &out)
			made = !r.nothing && r.outcome != unknown
		}
	}
	var clients sync.WaitGroup
	for client := range 4 {
		clients.Go(func() { s.settings(client) })
	}
	for client := range 3 {
		clients.Go(func() { s.keyed(4 + client) })
	}
	for round := range *historyRounds {
		time.Sleep(400 * time.Millisecond) // of work between two changes; nothing depends on it
		s.blow(round%2 == 1)
	}
	time.Sleep(400 * time.Millisecond)
	close(s.stop)
	clients.Wait()

	outcomes := map[string]int{}
	for _, part := range s.history.parts {
		for _, o := range part {
			switch op := o.Input.(type) {
			case registerChange:
				outcomes[fmt.Sprintf("setting %v (read %v)", op.outcome, op.set == "")]++
			case keyedRequest:
				outcomes[fmt.Sprintf("key %v (repeated %v, look %v)", op.outcome, op.repeated, op.look)]++
			}
		}
	}
	t.Logf("%v in %v", outcomes, s.now())
	if wrong := s.history.check(); wrong != "" {
		t.Fatal(wrong)
	}
}
