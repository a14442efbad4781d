package resp

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
)

// FuzzSession executes whatever a tenant sends. No command panics, and each gets its reply.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"SET k v EX 10 GET\r\nGETRANGE k -1 5\r\nINCRBYFLOAT n 1e3\r\nSETRANGE k 7 x\r\n", "HSET h a 1 b 2\r\nHRANDFIELD h -5 WITHVALUES\r\nHSCAN h 0 MATCH a* COUNT 1\r\n",
		"ZADD z NX GT 1 a\r\nZRANGE z (1 +inf BYSCORE REV LIMIT 0 -1 WITHSCORES\r\nZRANGEBYLEX z - [b\r\n", "SCAN 0 TYPE hash COUNT 9223372036854775807\r\nSCAN 18446744073709551616\r\n",
		"HELLO 3 AUTH a b SETNAME x\r\nCLIENT LIST ID 1 2\r\nCLIENT KILL TYPE normal SKIPME yes\r\n", "EXPIRE k 9223372036854775807\r\nPEXPIREAT k -1 GT\r\nOBJECT ENCODING k\r\n",
		"MSET a 1 b 2\r\nCOPY a c DB 3 REPLACE\r\nRENAME a b\r\nCOMMAND GETKEYS MSET a b c d\r\n", "INFO all\r\nCONFIG GET *\r\nMULTI\r\nEXEC\r\nRESET\r\n", "*2\r\n$3\r\nGET\r\n$3\r\n\x00\xff\n\r\n",
	} {
		f.Add([]byte(s))
	}
	b := commandtest.New(f)
	f.Fuzz(func(t *testing.T, input []byte) {
		s := b.Registry.Open(command.Peer{Remote: "192.0.2.1:1", Local: "192.0.2.2:6379"}, 1<<20, time.Now(), nil)
		defer b.Registry.Remove(s)
		b.Do(t, s, "AUTH", commandtest.AWriteSecret)
		b.Do(t, s, "FLUSHALL")
		r := NewReader(bytes.NewReader(input), ReaderLimits{})
		for {
			cmds, err := r.Next(true)
			if err != nil {
				return
			}
			for _, c := range cmds {
				name := strings.ToLower(string(c.Args[0]))
				// These do in earnest what they are asked for: fill memory, or wait after a wrong token.
				if slices.Contains([]string{"setrange", "auth", "hello"}, name) && len(input) > 0 && slices.ContainsFunc(c.Args[1:], func(a []byte) bool { return len(a) > 5 }) {
					return
				}
			}
			s.Out.Reset(keepOutput)
			if err := b.Executor.Execute(t.Context(), s, cmds, func() error { return nil }); err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(s.Out.Bytes(), []byte("-ERR internal error")) {
				t.Errorf("%q got %q", cmds, s.Out.Bytes())
			}
			if closing, drop := s.Closing(); closing || drop {
				return
			}
		}
	})
}
