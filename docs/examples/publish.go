// Publishes the events of standard input, one JSON object on each line, and prints where each is now.
//
//	go run publish.go BOOTSTRAP_SERVERS TOPIC < events.jsonl
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	producer, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(os.Args[1], ",")...),
		kgo.DefaultProduceTopic(os.Args[2]),
		// Idempotent by default: what is sent again after a lost reply is not there twice, or out of order.
		// The next two are the defaults, too. The partitioner takes murmur2 of the key, as the Java client does.
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()

	// W3C trace context of what you are doing, such as OpenTelemetry's propagator gives it.
	var headers []kgo.RecordHeader
	if traceparent := os.Getenv("TRACEPARENT"); traceparent != "" {
		headers = append(headers, kgo.RecordHeader{Key: "traceparent", Value: []byte(traceparent)})
	}
	events := bufio.NewScanner(os.Stdin)
	for events.Scan() {
		var event struct{ Currency string }
		if err := json.Unmarshal(events.Bytes(), &event); err != nil {
			log.Fatal(err)
		}
		record := &kgo.Record{Key: []byte(event.Currency), Value: []byte(events.Text()), Headers: headers}
		placed, err := producer.ProduceSync(context.Background(), record).First()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(placed.Partition, placed.Offset)
	}
	if err := events.Err(); err != nil {
		log.Fatal(err)
	}
}
