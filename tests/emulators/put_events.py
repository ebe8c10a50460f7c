#!/usr/bin/env python3
"""Puts the lines of a file into a Kinesis stream, as a producer would; the partition key is the user.

    put_events.py --endpoint http://127.0.0.1:4567 --stream events --file events.ndjson --aggregate --split-after 500

The stream is made when it does not exist. Lines are put in the file's order, and those of one user stay in that order
through splits and merges. Prints one JSON object: the lines and records put, the seconds that the puts took, the open
shards at the end.
"""

import argparse
import gzip
import hashlib
import json
import sys
import time

import boto3
from botocore.config import Config

PUT_RECORDS_MAX = 500
PUT_BYTES_MAX = 4 * 1024 * 1024
# Like the producer library's own default: small aggregates, so that tests see many.
AGGREGATE_BYTES_MAX = 50 * 1024


def main():
    options = parse()
    lines = read_lines(options.file)
    producer = Producer(options)
    producer.ensure_stream(options.shards)
    splits, merges = sorted(options.split_after), sorted(options.merge_after)
    for number, line in enumerate(lines):
        while splits and splits[0] <= number:
            splits.pop(0)
            producer.split()
        while merges and merges[0] <= number:
            merges.pop(0)
            producer.merge()
        producer.add(key_of(line), line)
    producer.flush()
    json.dump(
        {
            "lines": len(lines),
            "records": producer.record_count,
            "put_seconds": round(producer.put_seconds, 3),
            "lines_per_second": round(len(lines) / producer.put_seconds) if producer.put_seconds else None,
            "open_shards": [shard["ShardId"] for shard in producer.shards],
        },
        sys.stdout,
    )
    print()


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", required=True, help="URL of the service")
    parser.add_argument("--stream", required=True)
    parser.add_argument("--file", required=True, help="NDJSON, plain or .gz; - for standard input")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--shards", type=int, default=1, help="shards of a stream that is made")
    parser.add_argument("--aggregate", action="store_true", help="pack lines as the producer library does")
    parser.add_argument("--gzip", action="store_true", help="compress every line, within aggregates too")
    parser.add_argument(
        "--split-after", type=int, action="append", default=[], metavar="N",
        help="split the widest shard once N lines are put; may be given again",
    )
    parser.add_argument(
        "--merge-after", type=int, action="append", default=[], metavar="N",
        help="merge the two lowest neighbours once N lines are put; may be given again",
    )
    return parser.parse_args()


def read_lines(path):
    if path == "-":
        content = sys.stdin.buffer.read()
    else:
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            content = file.read()
    return [line for line in content.split(b"\n") if line.strip()]


def key_of(line):
    """The user of an event; a line that is no event is keyed by its text, so that broken input can be put too."""
    try:
        user = json.loads(line)["user_id"]
        if isinstance(user, str) and 0 < len(user) <= 256:
            return user
    except (ValueError, KeyError, TypeError):
        pass
    return hashlib.md5(line).hexdigest()


class Producer:
    """Collects records and puts them; knows the shards, as the producer library does, to aggregate for each."""

    def __init__(self, options):
        self.stream = options.stream
        self.aggregate = options.aggregate
        self.compress = options.gzip
        self.client = boto3.client(
            "kinesis",
            endpoint_url=options.endpoint,
            region_name=options.region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 3}, read_timeout=120),
        )
        self.shards = []
        self.aggregators = {}
        self.waiting = []
        self.waiting_bytes = 0
        self.record_count = 0
        self.put_seconds = 0.0

    def ensure_stream(self, shard_count):
        try:
            self.client.create_stream(StreamName=self.stream, ShardCount=shard_count)
        except self.client.exceptions.ResourceInUseException:
            pass
        self.wait_until_active()

    def wait_until_active(self):
        for _ in range(600):
            summary = self.client.describe_stream_summary(StreamName=self.stream)
            if summary["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE":
                break
            time.sleep(0.05)
        else:
            sys.exit(f"stream {self.stream} did not become active")
        self.shards = sorted(self.open_shards(), key=start_of)
        self.aggregators = {}

    def open_shards(self):
        answer = self.client.list_shards(StreamName=self.stream)
        shards = answer["Shards"]
        while answer.get("NextToken"):
            answer = self.client.list_shards(NextToken=answer["NextToken"])
            shards += answer["Shards"]
        return [s for s in shards if not s["SequenceNumberRange"].get("EndingSequenceNumber")]

    def split(self):
        self.flush()
        widest = max(self.shards, key=lambda shard: end_of(shard) - start_of(shard))
        middle = (start_of(widest) + end_of(widest)) // 2 + 1
        self.client.split_shard(
            StreamName=self.stream, ShardToSplit=widest["ShardId"], NewStartingHashKey=str(middle)
        )
        self.wait_until_active()

    def merge(self):
        self.flush()
        lower, upper = self.shards[:2]
        self.client.merge_shards(
            StreamName=self.stream, ShardToMerge=lower["ShardId"], AdjacentShardToMerge=upper["ShardId"]
        )
        self.wait_until_active()

    def add(self, key, line):
        data = gzip.compress(line) if self.compress else line
        if not self.aggregate:
            self.put_later({"PartitionKey": key, "Data": data})
            return
        from aws_kinesis_agg.aggregator import RecordAggregator

        shard_id = self.shard_of(key)
        aggregator = self.aggregators.setdefault(shard_id, RecordAggregator(AGGREGATE_BYTES_MAX))
        full = aggregator.add_user_record(key, data)
        if full:
            self.put_aggregate(full)

    def shard_of(self, key):
        place = int.from_bytes(hashlib.md5(key.encode()).digest(), "big")
        return next(s["ShardId"] for s in self.shards if start_of(s) <= place <= end_of(s))

    def put_aggregate(self, aggregate):
        key, _, data = aggregate.get_contents()
        self.put_later({"PartitionKey": key, "Data": data})

    def put_later(self, record):
        size = len(record["Data"]) + len(record["PartitionKey"])
        if len(self.waiting) == PUT_RECORDS_MAX or self.waiting_bytes + size > PUT_BYTES_MAX:
            self.put()
        self.waiting.append(record)
        self.waiting_bytes += size

    def flush(self):
        for aggregator in self.aggregators.values():
            rest = aggregator.clear_and_get()
            if rest:
                self.put_aggregate(rest)
        self.put()

    def put(self):
        if not self.waiting:
            return
        started = time.perf_counter()
        answer = self.client.put_records(StreamName=self.stream, Records=self.waiting)
        self.put_seconds += time.perf_counter() - started
        # To put refused records again would change the order of a user's lines, which the tests rely on.
        if answer["FailedRecordCount"]:
            sys.exit(f"{answer['FailedRecordCount']} of {len(self.waiting)} records were refused")
        self.record_count += len(self.waiting)
        self.waiting, self.waiting_bytes = [], 0


def start_of(shard):
    return int(shard["HashKeyRange"]["StartingHashKey"])


def end_of(shard):
    return int(shard["HashKeyRange"]["EndingHashKey"])


if __name__ == "__main__":
    main()
