package resp

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/command/compare"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/redis/go-redis/v9"
)

var pubsubMany = flag.Int("pubsub.subscribers", 300, "connections that TestManySubscribers has listen to one channel")

// TestConversations holds what connections of one server hear of each other against redis-server. To write its answers
// into the file: go test ./datanode/resp -run TestConversations/redis -rewrite
func TestConversations(t *testing.T) {
	const file = "testdata/conversation/pubsub"
	t.Run("redis", func(t *testing.T) {
		compare.Conversations(t, file, compare.RedisDial(t))
	})
	t.Run("atoll", func(t *testing.T) {
		r := start(t, true, Limits{})
		compare.Conversations(t, file, func() net.Conn { return r.dial(t).Conn })
	})
}

// listen returns a connection that has subscribed to a channel.
func (r *rig) listen(t testing.TB, secret, channel string) *client {
	t.Helper()
	c := r.as(t, secret)
	if got := c.say("SUBSCRIBE "+channel+"\r\n", 6); !strings.HasPrefix(got, "*3\r\n$9\r\nsubscribe\r\n") {
		t.Fatalf("SUBSCRIBE answered %q", got)
	}
	return c
}

// TestSubscribersAreRevoked: one that only listens ends with its token at once, and others' go on.
func TestSubscribersAreRevoked(t *testing.T) {
	r := start(t, false, Limits{})
	r.next(t, &atollpb.ViewFrame{Tokens: []*atollpb.Token{commandtest.Token("t1", commandtest.AID, "secret1", atollpb.Role_ROLE_READ_ONLY)}})
	revoked, other := r.listen(t, "secret1", "c"), r.listen(t, commandtest.AReadSecret, "c")
	publisher := r.as(t, commandtest.AWriteSecret)
	if got := publisher.say("PUBLISH c 1\r\n", 1); got != ":2\r\n" {
		t.Errorf("PUBLISH answered %q", got)
	}
	revoked.say("", 7)
	other.say("", 7)
	r.next(t, &atollpb.ViewFrame{RemovedTokens: []string{"t1"}})
	if got := revoked.ends(); got != "" {
		t.Errorf("it was sent %q", got)
	}
	until(t, "the subscription to end", func() bool { return publisher.say("PUBLISH c 2\r\n", 1) == ":1\r\n" })
	if got := other.say("", 7); !strings.HasSuffix(got, "$1\r\n2\r\n") && !strings.HasSuffix(got, "2") {
		t.Errorf("the other got %q", got)
	}
}

// TestSubscribersMayIdle: as long as they like, where others may not.
func TestSubscribersMayIdle(t *testing.T) {
	r := start(t, true, Limits{IdleTimeout: 2 * time.Second})
	c := r.listen(t, commandtest.AReadSecret, "c")
	idle := r.as(t, commandtest.AReadSecret)
	idle.ends()
	if got := r.as(t, commandtest.AWriteSecret).say("PUBLISH c 1\r\n", 1); got != ":1\r\n" {
		t.Errorf("PUBLISH answered %q", got)
	}
	c.say("", 7)
}

// TestSubscriberThatDoesNotRead: it is cut, and the publisher and the others are served all along.
func TestSubscriberThatDoesNotRead(t *testing.T) {
	r := start(t, true, Limits{})
	slow, quick, publisher := r.listen(t, commandtest.AReadSecret, "c"), r.listen(t, commandtest.AReadSecret, "c"), r.as(t, commandtest.AWriteSecret)
	if err := slow.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	line := "PUBLISH c " + strings.Repeat("m", 60_000) + "\r\n"
	for n := 0; r.Registry.Len() == 3; n++ {
		if n > 2000 {
			t.Fatal("one that reads nothing is not cut")
		}
		publisher.say(line, 1)
		quick.say("", 7)
	}
	until(t, "nothing to wait", func() bool { return r.Registry.Pushed() == 0 })
}

// TestWhatWaitsIsOnTheAccount: of client-memory, so that the connection for which most waits is cut, though each may have
// as much.
func TestWhatWaitsIsOnTheAccount(t *testing.T) {
	r := start(t, true, Limits{MemoryBytes: 32 << 20})
	publisher, other := r.as(t, commandtest.AWriteSecret), r.listen(t, commandtest.BWriteSecret, "c")
	for i := range 8 {
		c := r.listen(t, commandtest.AReadSecret, strconv.Itoa(i))
		if err := c.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
	}
	line := strings.Repeat("m", 60_000)
	for n := 0; r.Registry.Len() == 10; n++ {
		if n > 4000 {
			t.Fatal("none of those that read nothing is cut")
		}
		publisher.say(fmt.Sprintf("PUBLISH %d %s\r\n", n%8, line), 1)
		if waits := r.Registry.Pushed(); waits > 32<<20 {
			t.Fatalf("%d bytes wait", waits)
		}
	}
	if got := r.as(t, commandtest.BWriteSecret).say("PUBLISH c "+line+"\r\n", 1); got != ":1\r\n" {
		t.Errorf("PUBLISH in another namespace answered %q", got)
	}
	if got := other.say("", 7); !strings.Contains(got, line) {
		t.Errorf("its subscriber got %d bytes", len(got))
	}
}

// TestManySubscribers: all of them get every message, in its order, and confirmations come before, from whichever protocol.
func TestManySubscribers(t *testing.T) {
	r := start(t, true, Limits{})
	var ready, all sync.WaitGroup
	const messages = 20
	for i := range *pubsubMany {
		c := r.as(t, commandtest.AReadSecret)
		if i%2 == 0 {
			c.say("HELLO 3\r\n", 26)
		}
		ready.Add(1)
		all.Go(func() {
			_ = c.SetDeadline(time.Now().Add(60 * time.Second))
			_, _ = c.Write(compare.Encode([]string{"SUBSCRIBE", "c"}, []string{"PING"}))
			v, err := compare.Read(c.r)
			ready.Done()
			if err != nil || len(v.List) != 3 || v.List[0].Text != "subscribe" {
				t.Errorf("first came %v, %v", v, err)
				return
			}
			for next := 0; next < messages; {
				v, err := compare.Read(c.r)
				if err != nil {
					t.Errorf("after %d messages: %v", next, err)
					return
				}
				if len(v.List) != 3 { // PING's reply
					continue
				}
				if v.List[2].Text != strconv.Itoa(next) {
					t.Errorf("%v came after %d messages", v, next)
					return
				}
				next++
			}
		})
	}
	ready.Wait()
	p := r.as(t, commandtest.AWriteSecret)
	for i := range messages {
		if got := p.say("PUBLISH c "+strconv.Itoa(i)+"\r\n", 1); got != fmt.Sprintf(":%d\r\n", *pubsubMany) {
			t.Errorf("PUBLISH answered %q", got)
		}
	}
	all.Wait()
}

// TestComingAndGoing: while others publish, nothing of a channel comes before the confirmation of the begin or after that
// of the end, and replies and messages stay whole.
func TestComingAndGoing(t *testing.T) {
	r := start(t, true, Limits{})
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 2 {
		p := r.as(t, commandtest.AWriteSecret)
		all.Go(func() {
			for ctx.Err() == nil {
				p.say(strings.Repeat("PUBLISH c m\r\n", 10), 10)
			}
		})
	}
	defer all.Wait()
	defer stop()
	c := r.as(t, commandtest.AWriteSecret)
	c.say("HELLO 3\r\n", 26)
	value := strings.Repeat("v", 3000)
	c.say("SET k "+value+"\r\n", 1)
	messages := 0
	for range 300 {
		_, _ = c.Write(compare.Encode([]string{"GET", "k"}, []string{"SUBSCRIBE", "c"}, []string{"GET", "k"}, []string{"GET", "k"}))
		listens := hears(t, c.r, value, 3, false, &messages)
		_, _ = c.Write(compare.Encode([]string{"GET", "k"}, []string{"UNSUBSCRIBE", "c"}, []string{"GET", "k"}))
		if listens = hears(t, c.r, value, 2, listens, &messages); listens || t.Failed() {
			t.Fatalf("it listens: %v", listens)
		}
	}
	if messages < 100 {
		t.Errorf("only %d messages came", messages)
	}
}

// hears reads until so many replies have come, and reports whether the connection listens then.
func hears(t *testing.T, r *bufio.Reader, value string, replies int, listens bool, messages *int) bool {
	t.Helper()
	for replies > 0 {
		v, err := compare.Read(r)
		switch {
		case err != nil:
			t.Fatal(err)
		case v.Kind == '$' && v.Text == value:
			replies--
		case v.Kind == '>' && v.List[0].Text == "message" && listens:
			*messages++
		case v.Kind == '>' && v.List[0].Text == "subscribe" && !listens:
			listens = true
		case v.Kind == '>' && v.List[0].Text == "unsubscribe" && listens:
			listens = false
		default:
			t.Fatalf("while it listens is %v came %.100s", listens, v)
		}
	}
	return listens
}

// TestPausedPublisherListens: PUBLISH is held up as a write is, and what others publish arrives all along.
func TestPausedPublisherListens(t *testing.T) {
	r := start(t, true, Limits{})
	s, other := r.as(t, commandtest.AWriteSecret), r.as(t, commandtest.AWriteSecret)
	s.say("HELLO 3\r\n", 26)
	s.say("SUBSCRIBE c\r\n", 6)
	waits := r.waits(s)
	other.say("CLIENT PAUSE 1000000 WRITE\r\n", 1)
	_, _ = s.Write(compare.Encode([]string{"PUBLISH", "c", "own"}))
	until(t, "PUBLISH to wait", waits)
	r.Executor.Publish(&command.Message{Namespace: commandtest.AID, Channel: []byte("c"), Payload: []byte("others")})
	if got := s.say("", 7); !strings.HasSuffix(got, "\r\nothers\r\n") {
		t.Errorf("got %q", got)
	}
	other.say("CLIENT UNPAUSE\r\n", 1)
	if got := s.say("", 8); !strings.HasSuffix(got, "\r\nown\r\n:1\r\n") {
		t.Errorf("got %q", got)
	}
}

// TestStopWithSubscribers: the end of the server is theirs.
func TestStopWithSubscribers(t *testing.T) {
	r := start(t, true, Limits{DrainTimeout: 10 * time.Second})
	c := r.listen(t, commandtest.AReadSecret, "c")
	r.stop()
	c.ends()
}

// TestGoRedisSubscribes: its own goroutines read, ping and subscribe anew.
func TestGoRedisSubscribes(t *testing.T) {
	r := start(t, false, Limits{})
	for _, proto := range []int{2, 3} {
		c := redis.NewClient(&redis.Options{Addr: r.addr, Password: commandtest.AWriteSecret, Protocol: proto})
		ctx := t.Context()
		subs := []*redis.PubSub{c.Subscribe(ctx, "one", "two"), c.PSubscribe(ctx, "o*"), c.SSubscribe(ctx, "one")}
		for _, s := range subs {
			if _, err := s.Receive(ctx); err != nil {
				t.Fatalf("RESP%d: %v", proto, err)
			}
		}
		if _, err := subs[0].Receive(ctx); err != nil { // of the second channel
			t.Fatal(err)
		}
		if n, err := c.Publish(ctx, "one", "hello").Result(); n != 2 || err != nil {
			t.Errorf("RESP%d: %d, %v", proto, n, err)
		}
		if n, err := c.SPublish(ctx, "one", "hello").Result(); n != 1 || err != nil {
			t.Errorf("RESP%d: %d, %v", proto, n, err)
		}
		for i, s := range subs {
			if m, err := s.ReceiveMessage(ctx); err != nil || m.Channel != "one" || m.Payload != "hello" || (m.Pattern == "o*") != (i == 1) {
				t.Errorf("RESP%d: %v, %v", proto, m, err)
			}
			if err := s.Ping(ctx, "x"); err != nil {
				t.Error(err)
			}
			if m, err := s.Receive(ctx); err != nil || !strings.Contains(fmt.Sprint(m), "x") {
				t.Errorf("RESP%d: %v, %v", proto, m, err)
			}
		}
		if channels, err := c.PubSubChannels(ctx, "*").Result(); err != nil || len(channels) != 2 {
			t.Errorf("RESP%d: %v, %v", proto, channels, err)
		}
		if n, err := c.PubSubNumSub(ctx, "one").Result(); err != nil || n["one"] != 1 {
			t.Errorf("RESP%d: %v, %v", proto, n, err)
		}
		for _, s := range subs {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		until(t, "the subscriptions to end", func() bool { return c.PubSubNumPat(ctx).Val() == 0 })
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// BenchmarkPublish publishes to so many connections that take what they are sent.
func BenchmarkPublish(b *testing.B) {
	for _, many := range []int{0, 1, 100, 10_000} {
		b.Run(strconv.Itoa(many), func(b *testing.B) {
			bench := commandtest.New(b)
			for range many {
				s := bench.Session(b, commandtest.AReadSecret)
				bench.Do(b, s, "SUBSCRIBE", "c")
				stop := make(chan struct{})
				go func() {
					defer close(stop)
					for p := s.Pushes(); p.Wait(); {
						for p.Take() != nil {
						}
					}
				}()
				defer func() {
					s.Pushes().Close()
					<-stop
				}()
			}
			m := &command.Message{Namespace: commandtest.AID, Channel: []byte("c"), Payload: bytes.Repeat([]byte("m"), 100)}
			b.ReportAllocs()
			for b.Loop() {
				bench.Executor.Publish(m)
			}
		})
	}
}
