package command_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/datatype/datatypetest"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// bulkOf is the content of a bulk reply.
func bulkOf(reply string) string {
	_, rest, _ := strings.Cut(reply, "\r\n")
	return strings.TrimSuffix(rest, "\r\n")
}

// TestRestoreWithinALimit: a dump counts with what it is when it isn't compressed.
func TestRestoreWithinALimit(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	expect(t, b, s, "SET k "+strings.Repeat("x", 20_000), "+OK")
	dump := bulkOf(b.Do(t, s, "DUMP", "k"))
	if len(dump) > 500 {
		t.Fatalf("the dump has %d bytes", len(dump))
	}
	expect(t, b, s, "DEL k", ":1")
	bound(t, b, &atollpb.Limits{Bytes: hard(10_000)})
	if got := b.Do(t, s, "RESTORE", "k", "0", dump); !strings.HasPrefix(got, "-LIMIT bytes") {
		t.Errorf("a large one answers %.100q", got)
	}
	bound(t, b, &atollpb.Limits{Bytes: hard(30_000)})
	if got := b.Do(t, s, "RESTORE", "k", "0", dump); got != "+OK\r\n" {
		t.Errorf("one that fits answers %.100q", got)
	}
}

// TestRestoreTooLarge: what one run can't write is refused before anything is written, however small its dump is.
func TestRestoreTooLarge(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	expect(t, b, s, "SET k here", "+OK", "SET zeros "+strings.Repeat("0", 8<<20), "+OK")
	zeros := bulkOf(b.Do(t, s, "DUMP", "zeros"))
	one := zeros[1 : len(zeros)-10] // a compressed string of 8 MiB
	dump := sealed(10, "\x01\x40\xff", strings.Repeat(one, 255))
	if got := b.Do(t, s, "RESTORE", "k", "0", dump, "REPLACE"); !strings.HasPrefix(got, "-ERR the write is too large") {
		t.Fatalf("%d bytes answer %.100q", len(dump), got)
	}
	expect(t, b, s, "GET k", "$4\r\nhere")
}

// TestDamagedDumps flips and cuts dumps of all types, with checksums that are right again: whatever is restored is whole, and
// what isn't changes nothing.
func TestDamagedDumps(t *testing.T) {
	b := commandtest.New(t)
	b.Env.Families.Limits = datatype.Limits{Members: 8, Bytes: 200}
	s := b.Session(t, commandtest.AWriteSecret)
	lines := []string{"SET string " + strings.Repeat("abc", 30), "RPUSH list a b 1 -5000 " + strings.Repeat("long", 40), "SADD numbers 1 2 70000", "SADD set a b c d e f g h i j", "HSET hash a b 1 2", "ZADD zset 1 a 2.5 b inf c"}
	random, restored, refused := rand.New(rand.NewPCG(1, 1)), 0, 0
	for _, line := range lines {
		words := strings.Fields(line)
		b.Do(t, s, words...)
		dump := bulkOf(b.Do(t, s, "DUMP", words[1]))
		for range 2000 {
			body := []byte(dump[:len(dump)-10])
			for range 1 + random.IntN(3) {
				body[random.IntN(len(body))] ^= 1 << random.IntN(8)
			}
			if random.IntN(4) == 0 {
				body = body[:random.IntN(len(body))]
			}
			b.Do(t, s, "SET", "k", "here")
			switch got := b.Do(t, s, "RESTORE", "k", "0", sealed(10, string(body)), "REPLACE"); {
			case got == "+OK\r\n":
				restored++
				again := bulkOf(b.Do(t, s, "DUMP", "k"))
				if got := b.Do(t, s, "RESTORE", "k", "0", again, "REPLACE"); got != "+OK\r\n" {
					t.Fatalf("%q is restored, and its dump %q answers %q", body, again, got)
				}
			case strings.HasPrefix(got, "-ERR Bad data format"):
				refused++
				expect(t, b, s, "GET k", "$4\r\nhere")
			default:
				t.Fatalf("%q answers %q", body, got)
			}
		}
		if err := datatypetest.Check(b.Node.Data, commandtest.AID, 0); err != nil {
			t.Fatal(err)
		}
	}
	if restored < 100 || refused < 1000 {
		t.Errorf("%d dumps were restored and %d refused", restored, refused)
	}
}

// FuzzRestore restores anything behind a right checksum.
func FuzzRestore(f *testing.F) {
	for _, d := range olderDumps() {
		if len(d.dump) > 10 {
			f.Add([]byte(d.dump[:len(d.dump)-10]))
		}
	}
	b := commandtest.New(f)
	b.Env.Families.Limits = datatype.Limits{Members: 4, Bytes: 90}
	s := b.Session(f, commandtest.AWriteSecret)
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 1<<16 {
			return
		}
		b.Do(t, s, "DEL", "k", "again")
		if got := b.Do(t, s, "RESTORE", "k", "0", sealed(10, string(body))); got != "+OK\r\n" {
			if got != "-ERR Bad data format\r\n" {
				t.Fatalf("%q answers %q", body, got)
			}
			expect(t, b, s, "EXISTS k", ":0")
			return
		}
		dump := bulkOf(b.Do(t, s, "DUMP", "k"))
		if got := b.Do(t, s, "RESTORE", "again", "0", dump); got != "+OK\r\n" {
			t.Fatalf("the dump %q of %q answers %q", dump, body, got)
		}
		if got := b.Do(t, s, "DUMP", "again"); bulkOf(got) != dump {
			t.Fatalf("%q becomes %q", dump, got)
		}
		if err := datatypetest.Check(b.Node.Data, commandtest.AID, 0); err != nil {
			t.Fatal(fmt.Errorf("%q: %w", body, err))
		}
	})
}
