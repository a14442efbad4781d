"""What python3-redis does against a server: connect, strings, hashes, sorted sets, expiry, pipelines."""
import sys

import redis

host, port, token, admin = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]


def check(got, want, what):
    if got != want:
        sys.exit(f"{what}: got {got!r}, want {want!r}")


r = redis.Redis(host=host, port=port, password=token, decode_responses=True, client_name="py")
check(r.ping(), True, "ping")
check(r.client_getname(), "py", "client name")
check(r.set("s", "v", ex=100), True, "set")
check(r.get("s"), "v", "get")
check(0 < r.ttl("s") <= 100, True, "ttl")
check(r.incrby("n", 5), 5, "incrby")
check(r.hset("h", mapping={"a": "1", "b": "2"}), 2, "hset")
check(r.hgetall("h"), {"a": "1", "b": "2"}, "hgetall")
check(r.zadd("z", {"x": 1.5, "y": 2}), 2, "zadd")
check(r.zrange("z", 0, -1, withscores=True), [("x", 1.5), ("y", 2.0)], "zrange")
check(sorted(r.scan_iter(count=2)), ["h", "n", "s", "z"], "scan")
p = r.pipeline(transaction=False)
for i in range(100):
    p.set(f"p{i}", i)
p.get("p99")
check(p.execute()[-1], "99", "pipeline")
check(r.dbsize(), 104, "dbsize")
check(r.info("server")["redis_version"] >= "7.2", True, "version")
check(r.type("z"), "zset", "type")
try:
    r.hget("s", "a")
    sys.exit("a hash command on a string was taken")
except redis.ResponseError as e:
    check(str(e).startswith("WRONGTYPE"), True, str(e))
try:
    redis.Redis(host=host, port=port, password="wrong" * 4).ping()
    sys.exit("a wrong token was taken")
except (redis.AuthenticationError, redis.ResponseError) as e:  # which of them depends on the version
    check("invalid" in str(e), True, str(e))
two = redis.Redis(host=host, port=port, password=token, db=2, decode_responses=True)
check(two.dbsize(), 0, "another database")
check(two.set("s", "2"), True, "set in another database")
check(r.get("s"), "v", "get in the first database")
check(two.flushdb(), True, "flushdb")
check(r.flushall(), True, "flushall")
a = redis.Redis(host=host, port=port, username="default", password=admin, decode_responses=True)
check("acme" in a.execute_command("NAMESPACE", "GET", "*"), True, "namespaces")
print("ok")
