package command_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/tidwall/redcon"
)

// pushed returns what others have sent a session.
func pushed(s *command.Session) string {
	var b strings.Builder
	if p := s.Pushes(); p != nil {
		for text := p.Take(); text != nil; text = p.Take() {
			b.Write(text)
		}
	}
	return b.String()
}

// frame is a RESP array of bulk strings, and numbers where they are given as such.
func frame(kind string, parts ...any) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%d\r\n", kind, len(parts))
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(p), p)
		case int:
			fmt.Fprintf(&b, ":%d\r\n", p)
		case nil: // the absent value, in the protocol of the kind
			b.WriteString(map[string]string{"*": "$-1\r\n", ">": "_\r\n"}[kind])
		}
	}
	return b.String()
}

// TestP6Channels: the channels of one namespace are no other's, by whatever way one listens or asks.
func TestP6Channels(t *testing.T) {
	b := commandtest.New(t)
	a, own := b.Session(t, commandtest.AReadSecret), b.Session(t, commandtest.AWriteSecret)
	other, admin := b.Session(t, commandtest.BWriteSecret), b.Session(t, commandtest.AdminSecret)
	for _, s := range []*command.Session{a, other} {
		b.Do(t, s, "SUBSCRIBE", "c")
		b.Do(t, s, "PSUBSCRIBE", "*")
		b.Do(t, s, "SSUBSCRIBE", "c")
	}
	b.Do(t, other, "SUBSCRIBE", "of-b")
	expect(t, b, own, "PUBLISH c 1", ":2\r\n", "SPUBLISH c 2", ":1\r\n", "PUBLISH of-b 3", ":1\r\n",
		"PUBSUB CHANNELS", frame("*", "c"), "PUBSUB NUMSUB of-b c", frame("*", "of-b", 0, "c", 1), "PUBSUB NUMPAT", ":1\r\n",
		"PUBSUB SHARDCHANNELS", frame("*", "c"), "PUBSUB SHARDNUMSUB c d", frame("*", "c", 1, "d", 0))
	want := frame("*", "message", "c", "1") + frame("*", "pmessage", "*", "c", "1") + frame("*", "smessage", "c", "2") + frame("*", "pmessage", "*", "of-b", "3")
	if got := pushed(a); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := pushed(other); got != "" {
		t.Errorf("another namespace got %q", got)
	}
	for s, fields := range map[*command.Session]string{own: "1,1,1", admin: "3,2,2"} {
		info := b.Do(t, s, "INFO", "stats")
		for i, n := range strings.Split(fields, ",") {
			if name := []string{"pubsub_channels", "pubsub_patterns", "pubsubshard_channels"}[i]; !strings.Contains(info, name+":"+n+"\r\n") {
				t.Errorf("%s is not %s in %q", name, n, info)
			}
		}
	}
	expect(t, b, admin, "PUBLISH c x", ":0\r\n")
	b.Registry.Remove(a)
	expect(t, b, own, "PUBLISH c 1", ":0\r\n", "PUBSUB NUMPAT", ":0\r\n", "PUBSUB CHANNELS", "*0\r\n", "PUBSUB SHARDCHANNELS", "*0\r\n")
}

// TestMessageBehindItsConfirmation: nothing of a channel is sent before the confirmation was, and nothing after that of
// the end.
func TestMessageBehindItsConfirmation(t *testing.T) {
	b := commandtest.New(t)
	s, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)
	run := func(words ...string) string {
		s.Out.Reset(1 << 20)
		cmd := redcon.Command{}
		for _, w := range words {
			cmd.Args = append(cmd.Args, []byte(w))
		}
		if err := b.Executor.Execute(t.Context(), s, []redcon.Command{cmd}, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		return string(s.Out.Bytes())
	}
	if got := run("SUBSCRIBE", "c"); got != frame("*", "subscribe", "c", 1) {
		t.Errorf("got %q", got)
	}
	expect(t, b, other, "PUBLISH c 1", ":1\r\n")
	if got := pushed(s); got != "" {
		t.Errorf("%q was sent before the confirmation", got)
	}
	s.Pushes().Release()
	if got := pushed(s); got != frame("*", "message", "c", "1") {
		t.Errorf("got %q", got)
	}
	expect(t, b, other, "PUBLISH c 2", ":1\r\n")
	if got := run("PING"); got != frame("*", "message", "c", "2")+frame("*", "pong", "") {
		t.Errorf("got %q", got)
	}
	s.Pushes().Release()
	expect(t, b, other, "PUBLISH c 3", ":1\r\n")
	if got := run("UNSUBSCRIBE"); got != frame("*", "message", "c", "3")+frame("*", "unsubscribe", "c", 0) {
		t.Errorf("got %q", got)
	}
	s.Pushes().Release()
	if got := pushed(s); got != "" {
		t.Errorf("%q was sent after the end", got)
	}
}

// TestPubSubWithoutReplies: CLIENT REPLY keeps neither messages nor confirmations back.
func TestPubSubWithoutReplies(t *testing.T) {
	for proto, kind := range map[string]string{"2": "*", "3": ">"} {
		b := commandtest.New(t)
		s, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)
		b.Do(t, s, "HELLO", proto)
		b.Do(t, s, "CLIENT", "REPLY", "OFF")
		got := b.Pipeline(t, s, []string{"SUBSCRIBE", "c", "d"}, []string{"PING"}) + pushed(s)
		expect(t, b, other, "PUBLISH c m", ":1\r\n")
		got += b.Pipeline(t, s, []string{"PING"}, []string{"UNSUBSCRIBE", "c"}, []string{"UNSUBSCRIBE"}, []string{"CLIENT", "REPLY", "ON"}) + pushed(s)
		want := frame(kind, "subscribe", "c", 1) + frame(kind, "subscribe", "d", 2) + frame(kind, "message", "c", "m") +
			frame(kind, "unsubscribe", "c", 1) + frame(kind, "unsubscribe", "d", 0) + "+OK\r\n"
		if got != want {
			t.Errorf("RESP%s: got %q, want %q", proto, got, want)
		}
		got = b.Pipeline(t, s, []string{"CLIENT", "REPLY", "SKIP"}, []string{"SUBSCRIBE", "c"}, []string{"PUNSUBSCRIBE"}) + pushed(s)
		if want := frame(kind, "subscribe", "c", 1) + frame(kind, "punsubscribe", nil, 1); got != want {
			t.Errorf("RESP%s: got %q, want %q", proto, got, want)
		}
	}
}

// TestSubscriptionsEndWithTheNamespace: a session that goes over to another is told that it listens no more; RESET tells
// nothing.
func TestSubscriptionsEndWithTheNamespace(t *testing.T) {
	b := commandtest.New(t)
	s, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)
	b.Do(t, s, "HELLO", "3")
	b.Do(t, s, "SUBSCRIBE", "c", "d")
	b.Do(t, s, "PSUBSCRIBE", "*")
	b.Do(t, s, "SSUBSCRIBE", "c")
	expect(t, b, s, "AUTH nosuch", "-WRONGPASS ", "AUTH "+commandtest.AReadSecret, "+OK\r\n")
	expect(t, b, other, "PUBLISH c m", ":2\r\n")
	want := frame(">", "message", "c", "m") + frame(">", "pmessage", "*", "c", "m") + frame(">", "unsubscribe", "c", 2) + frame(">", "unsubscribe", "d", 1) +
		frame(">", "punsubscribe", "*", 0) + frame(">", "sunsubscribe", "c", 0) + "+OK\r\n"
	if got := b.Do(t, s, "AUTH", commandtest.BWriteSecret); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	expect(t, b, other, "PUBLISH c m", ":0\r\n", "SPUBLISH c m", ":0\r\n", "PUBSUB NUMPAT", ":0\r\n")
	expect(t, b, s, "SUBSCRIBE c", frame(">", "subscribe", "c", 1), "PUBLISH c b", frame(">", "message", "c", "b")+":1\r\n", "RESET", "+RESET\r\n", "AUTH "+commandtest.BWriteSecret, "+OK\r\n", "PUBLISH c m", ":0\r\n")
	if got := pushed(s); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestSubscribedConnectionsInClientList(t *testing.T) {
	b := commandtest.New(t)
	s, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)
	b.Do(t, s, "SUBSCRIBE", "a", "b")
	b.Do(t, s, "PSUBSCRIBE", "x*")
	b.Do(t, s, "SSUBSCRIBE", "1", "2", "3")
	list := b.Do(t, other, "CLIENT", "LIST", "TYPE", "pubsub")
	if !strings.Contains(list, " flags=P ") || !strings.Contains(list, " sub=2 psub=1 ssub=3 ") || strings.Count(list, "id=") != 1 {
		t.Errorf("got %q", list)
	}
	if list := b.Do(t, other, "CLIENT", "LIST", "TYPE", "normal"); strings.Count(list, "id=") != 1 || !strings.Contains(list, " sub=0 psub=0 ssub=0 ") {
		t.Errorf("got %q", list)
	}
	expect(t, b, other, "CLIENT KILL TYPE normal", ":0\r\n", "CLIENT KILL TYPE pubsub", ":1\r\n")
}

// TestSubscriptionLimits: what is beyond them is refused whole.
func TestSubscriptionLimits(t *testing.T) {
	b := commandtest.New(t)
	s, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)
	long := strings.Repeat("x", 4097)
	expect(t, b, s, "SUBSCRIBE ok "+long, "-LIMIT channel: ", "PSUBSCRIBE "+long, "-LIMIT channel: ", "PUBLISH "+long+" m", "-LIMIT channel: ", "PUBSUB CHANNELS", "*0\r\n")
	line, patterns := []string{"SUBSCRIBE"}, []string{"PSUBSCRIBE"}
	for i := range 65_536 {
		line = append(line, strconv.Itoa(i))
	}
	b.Do(t, s, line...)
	expect(t, b, s, "SUBSCRIBE 1 2 3", frame("*", "subscribe", "1", 65_536), "SUBSCRIBE new", "-LIMIT subscriptions: ", "SSUBSCRIBE new", "-LIMIT subscriptions: ")
	if held := s.Held(); held < 65_536*200 {
		t.Errorf("%d bytes are on the account for its subscriptions", held)
	}
	for i := range 256 {
		patterns = append(patterns, fmt.Sprintf("%04d", i)+long[:4092])
	}
	b.Do(t, other, patterns...)
	expect(t, b, other, "PSUBSCRIBE *", "-LIMIT patterns: ", "PUNSUBSCRIBE "+patterns[1], frame("*", "punsubscribe", patterns[1], 255), "PSUBSCRIBE *", frame("*", "psubscribe", "*", 256))
	b.Registry.Remove(s)
	b.Registry.Remove(other)
	third := b.Session(t, commandtest.AWriteSecret)
	expect(t, b, third, "PUBSUB CHANNELS", "*0\r\n", "PUBSUB NUMPAT", ":0\r\n", "PUBLISH 1 m", ":0\r\n")
	b.Do(t, third, line...)
}

// TestMessageToManyIsOne: however many a message is for, it is in memory once for each protocol, and what waits for all
// counts as that.
func TestMessageToManyIsOne(t *testing.T) {
	b := commandtest.New(t)
	publisher, many := b.Session(t, commandtest.AWriteSecret), make([]*command.Session, 2000)
	for i := range many {
		many[i] = b.Session(t, commandtest.AReadSecret)
		if i%2 == 0 {
			b.Do(t, many[i], "HELLO", "3")
		}
		b.Do(t, many[i], "SUBSCRIBE", "c")
	}
	expect(t, b, publisher, "PUBLISH c "+strings.Repeat("m", 1<<20), ":2000\r\n")
	if n := b.Registry.Pushed(); n < 2<<20 || n > 3<<20 {
		t.Errorf("%d bytes wait", n)
	}
	for i, s := range many {
		if got := pushed(s); len(got) < 1<<20 || got[0] != ">*"[i%2] {
			t.Fatalf("session %d got %d bytes", i, len(got))
		}
	}
	if n := b.Registry.Pushed(); n != 0 {
		t.Errorf("%d bytes wait for nobody", n)
	}
}

// TestSlowSubscriberIsDropped: alone, and the others get everything.
func TestSlowSubscriberIsDropped(t *testing.T) {
	b := commandtest.New(t)
	publisher, slow, quick := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AReadSecret), b.Session(t, commandtest.AReadSecret)
	ended := make(chan struct{})
	watched := b.Registry.Open(command.Peer{}, 0, time.Now(), func() { close(ended) })
	t.Cleanup(func() { b.Registry.Remove(watched) })
	b.Do(t, watched, "AUTH", commandtest.AReadSecret)
	for _, s := range []*command.Session{slow, quick, watched} {
		b.Do(t, s, "SUBSCRIBE", "c")
	}
	for range 40 {
		b.Do(t, publisher, "PUBLISH", "c", strings.Repeat("m", 1<<20))
		if got := pushed(quick); len(got) < 1<<20 {
			t.Fatalf("got %d bytes", len(got))
		}
	}
	select {
	case <-ended:
	default:
		t.Error("one for which 40 MiB wait goes on")
	}
	if !slow.Pushes().Close() || quick.Pushes().Close() {
		t.Error("the wrong one was dropped")
	}
}

// TestPublishedBytesAreOwedFor: what others are sent is owed for by the namespace.
func TestPublishedBytesAreOwedFor(t *testing.T) {
	b := commandtest.New(t)
	s, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)
	bound(t, b, &atollpb.Limits{OutBytesPerSecond: hard(1000)})
	b.Do(t, s, "SUBSCRIBE", "c")
	expect(t, b, other, "PUBLISH c "+strings.Repeat("m", 10_000), ":1\r\n", "PUBLISH c m", "-LIMIT reply bytes per second")
}

// TestOrderOfMessages: all who listen get a channel's messages in one order, which is each publisher's own.
func TestOrderOfMessages(t *testing.T) {
	const publishers, each = 4, 500
	b := commandtest.New(t)
	var listeners []*command.Session
	for i := range 4 {
		s := b.Session(t, commandtest.AReadSecret)
		if i%2 == 0 {
			b.Do(t, s, "SUBSCRIBE", "c")
		} else {
			b.Do(t, s, "PSUBSCRIBE", "c*")
		}
		listeners = append(listeners, s)
	}
	passed := make(map[string]int) // by publisher, of what goes to other nodes
	var mu sync.Mutex
	b.Node.OnPublish = func(m *command.Message) {
		mu.Lock()
		defer mu.Unlock()
		var who string
		var n int
		if _, err := fmt.Sscanf(string(m.Payload), "%s %d", &who, &n); err != nil || n != passed[who] || m.Namespace != commandtest.AID {
			t.Errorf("passed on %q after %d: %v", m.Payload, passed[who], err)
		}
		passed[who]++
	}
	var all sync.WaitGroup
	for p := range publishers {
		s := b.Session(t, commandtest.AWriteSecret)
		all.Go(func() {
			for i := range each {
				b.Do(t, s, "PUBLISH", "c", fmt.Sprintf("p%d %d", p, i))
			}
		})
	}
	churn := b.Session(t, commandtest.AReadSecret)
	all.Go(func() { // comes and goes meanwhile
		for range each {
			b.Do(t, churn, "SUBSCRIBE", "c")
			b.Do(t, churn, "UNSUBSCRIBE", "c")
		}
	})
	all.Wait()
	texts := make([][]string, len(listeners))
	for i, s := range listeners {
		for line := range strings.SplitSeq(pushed(s), "\r\n") {
			if strings.HasPrefix(line, "p") && line != "pmessage" {
				texts[i] = append(texts[i], line)
			}
		}
		next := make(map[string]int)
		for _, line := range texts[i] {
			who, n, _ := strings.Cut(line, " ")
			if n != strconv.Itoa(next[who]) {
				t.Fatalf("listener %d got %q after %d", i, line, next[who])
			}
			next[who]++
		}
		if same := texts[i%2]; len(texts[i]) != publishers*each || strings.Join(same, ",") != strings.Join(texts[i], ",") {
			t.Errorf("listener %d got %d messages, or in another order than the one before", i, len(texts[i]))
		}
	}
}

// TestPublishInATransaction: it is sent when all of it is committed, and else not at all.
func TestPublishInATransaction(t *testing.T) {
	b := commandtest.New(t)
	s, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)
	b.Do(t, s, "HELLO", "3")
	b.Do(t, s, "SUBSCRIBE", "c")
	b.Do(t, s, "PSUBSCRIBE", "*")
	b.Do(t, s, "SSUBSCRIBE", "c")
	got := b.Pipeline(t, s, []string{"MULTI"}, []string{"SET", "k", "v"}, []string{"PUBLISH", "c", "1"}, []string{"SPUBLISH", "c", "2"}, []string{"EXEC"})
	if want := "+OK\r\n" + strings.Repeat("+QUEUED\r\n", 3) + "*3\r\n+OK\r\n:2\r\n:1\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := pushed(s), frame(">", "message", "c", "1")+frame(">", "pmessage", "*", "c", "1")+frame(">", "smessage", "c", "2"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	expect(t, b, s, "WATCH k", "+OK")
	expect(t, b, other, "SET k w", "+OK")
	b.Pipeline(t, s, []string{"MULTI"}, []string{"PUBLISH", "c", "3"}, []string{"EXEC"})
	settle(t, b, func(a *atollpb.Namespace) { a.ReadOnly = true })
	expect(t, b, other, "MULTI", "+OK", "PUBLISH c 4", "+QUEUED", "SET k x", "+QUEUED", "EXEC", "-EXECABORT ")
	expect(t, b, other, "MULTI", "+OK", "SUBSCRIBE c", "-ERR Command not allowed inside a transaction", "EXEC", "-EXECABORT ")
	settle(t, b, func(*atollpb.Namespace) {})
	expect(t, b, other, "MULTI", "+OK", "SET k x", "+QUEUED", "PUBLISH c 5", "+QUEUED")
	b.Node.Data.Stop(store.Quiesced)
	expect(t, b, other, "EXEC", "-EXECABORT ")
	if got := pushed(s); got != "" {
		t.Errorf("of transactions that have not happened %q was sent", got)
	}
}

// TestHostilePatterns holds that patterns which are made to take long don't hold up a message, and that it still gets to those
// who subscribe to the channel itself.
func TestHostilePatterns(t *testing.T) {
	b := commandtest.New(t)
	bad, good, s := b.Session(t, commandtest.AReadSecret), b.Session(t, commandtest.AReadSecret), b.Session(t, commandtest.AWriteSecret)
	words := []string{"PSUBSCRIBE"}
	for i := range 400 {
		words = append(words, "*"+strings.Repeat("a", 2000+i)+"b")
	}
	b.Do(t, bad, words...)
	channel := strings.Repeat("a", 4096)
	b.Do(t, good, "SUBSCRIBE", channel)
	if got := b.Do(t, s, "PUBLISH", channel, "m"); got != ":1\r\n" {
		t.Errorf("PUBLISH answered %q", got)
	}
	if got := b.Executor.Starved(); got != 1 {
		t.Errorf("%d messages have met the bound", got)
	}
	words = []string{"PSUBSCRIBE"}
	for i := range 10_000 { // ordinary ones
		words = append(words, fmt.Sprintf("news.*.topic-%05d.[a-f]*", i))
	}
	other := b.Session(t, commandtest.BWriteSecret)
	b.Do(t, other, words...)
	if got := b.Do(t, b.Session(t, commandtest.BWriteSecret), "PUBLISH", "news.today.topic-09999.cx", "m"); got != ":1\r\n" {
		t.Errorf("PUBLISH answered %q", got)
	}
	if got := b.Executor.Starved(); got != 1 {
		t.Errorf("%d messages have met the bound", got)
	}
}
