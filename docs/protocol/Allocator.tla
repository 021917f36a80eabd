------------------------------ MODULE Allocator ------------------------------
(* How several owners of one partition take its place, apply batches behind the
   fence, publish what is committed and move the watermark. README.md says what
   is modelled, and which step is which line of the code.                      *)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS
  Owners,          \* those who may believe that the partition is theirs, all at the same time
  Log,             \* what is at each offset of the partition: "assigns", "plain" or "marker"
  CatalogueOf(_),  \* of each owner: the catalogue that it decides with
  Broken           \* what is wrong on purpose; "nothing" is the protocol as it is

VARIABLES
  row,       \* the partition's row, committed: next is next_offset, published is published_offset
  applied,   \* the committed records in the order of their commits: <<offset, decision, catalogue>>
  recorded,  \* the recorded catalogues in the order of their commits: <<from, catalogue>>
  tx,        \* the transaction that holds the row's lock, or NoTx
  late,      \* watermarks of statements that still wait in the server for a client that is gone
  steps,     \* the batch of a statement that still waits in the server for a client that is gone
  topic,     \* the notifications on the topic: <<offset, decision>>
  flight,    \* of each owner: what its producers were given, and what may still arrive
  pc,        \* of each owner: its step
  place,     \* of each owner: next_offset in its memory
  mark,      \* of each owner: published_offset in its memory
  behind,    \* of each owner: whether its watermark is above the one that it last wrote
  known,     \* of each owner: the catalogue that it believes to be the last one recorded
  end,       \* of each owner: the end of the batch in hand
  seen,      \* of each owner: how many applied records its gather has read
  calm       \* whether the faults have ended

database == <<row, applied, recorded, tx, late, steps>>
kafka == <<topic, flight>>
taken == <<place, mark, behind, known>>
batch == <<end, seen>>
vars == <<database, kafka, taken, batch, pc, calm>>

Records == {offset \in 0..Len(Log) - 1 : Log[offset + 1] # "marker"}
Assigns(offset) == Log[offset + 1] = "assigns"
LogEnd == 1 + CHOOSE last \in Records : \A offset \in Records : offset <= last
Before(offset) == Cardinality({other \in Records : other < offset})

None == "none"
Gone == "gone"  \* the owner of a transaction whose connection is lost
NoTx == [owner |-> None]

InBatch(o) == {offset \in Records : place[o] <= offset /\ offset < end[o]}
First(o) == CHOOSE offset \in InBatch(o) : \A other \in InBatch(o) : offset <= other

(* decide is a pure function of what gather read, the records and the catalogue. What matters here is whether it
   was given the state that all records below have left, so a decision is the number of records it knows of.      *)
Decided(o) ==
  [i \in 1..Cardinality(InBatch(o)) |->
    <<CHOOSE offset \in InBatch(o) : Before(offset) = Before(First(o)) + i - 1, seen[o] + i - 1, CatalogueOf(o)>>]

Notifications(rows) == {<<rows[i][1], rows[i][2]>> : i \in {j \in DOMAIN rows : Assigns(rows[j][1])}}

Outbox(from, to) == {n \in Notifications(applied) : from <= n[1] /\ n[1] < to}

LastRecorded == IF recorded = <<>> THEN None ELSE recorded[Len(recorded)][2]

Goes(o, step) == pc' = [pc EXCEPT ![o] = step]

Max(a, b) == IF a < b THEN b ELSE a

Init ==
  /\ row = [next |-> 0, published |-> 0]
  /\ applied = <<>>
  /\ recorded = <<>>
  /\ tx = NoTx
  /\ late = {}
  /\ steps = {}
  /\ topic = {}
  /\ flight = [o \in Owners |-> {}]
  /\ pc = [o \in Owners |-> "away"]
  /\ place = [o \in Owners |-> 0]
  /\ mark = [o \in Owners |-> 0]
  /\ behind = [o \in Owners |-> FALSE]
  /\ known = [o \in Owners |-> None]
  /\ end = [o \in Owners |-> 0]
  /\ seen = [o \in Owners |-> 0]
  /\ calm = FALSE

(* The group gives the partition to anybody, at any time, and nobody who has it is told. *)
Assign(o) ==
  /\ pc[o] = "away"
  /\ Goes(o, "taking")
  /\ UNCHANGED <<database, kafka, taken, batch, calm>>

-------------------------------------------------------------------------------
(* An owner's steps. A pause of any length is possible before each of them. *)

HasTaken(o) ==
  Goes(o, IF mark'[o] < place'[o] /\ Broken # "no republishing" THEN "republishing" ELSE "ready")

(* The row, once no transaction is changing it any more. *)
TakePlace(o) ==
  /\ pc[o] = IF Broken = "catalogue before the lock" THEN "knowing" ELSE "taking"
  /\ tx = NoTx \/ Broken = "no lock"
  /\ place' = [place EXCEPT ![o] = row.next]
  /\ mark' = [mark EXCEPT ![o] = row.published]
  /\ behind' = [behind EXCEPT ![o] = FALSE]
  /\ IF Broken = "catalogue before the lock" THEN HasTaken(o) ELSE Goes(o, "knowing")
  /\ UNCHANGED <<database, kafka, known, batch, calm>>

(* Which catalogue was recorded last: as of after the wait for the row, not as of before it. *)
KnowCatalogue(o) ==
  /\ pc[o] = IF Broken = "catalogue before the lock" THEN "taking" ELSE "knowing"
  /\ known' = [known EXCEPT ![o] = LastRecorded]
  /\ UNCHANGED <<database, kafka, place, mark, behind, batch, calm>>
  /\ IF Broken = "catalogue before the lock" THEN Goes(o, "knowing") ELSE HasTaken(o)

Republish(o) ==
  /\ pc[o] = "republishing"
  /\ flight' = [flight EXCEPT ![o] = @ \cup Outbox(mark[o], place[o])]
  /\ Goes(o, "publishing")
  /\ UNCHANGED <<database, topic, taken, batch, calm>>

Fetch(o) ==
  /\ pc[o] = "ready"
  /\ \E last \in Records :
       /\ place[o] <= last
       /\ end' = [end EXCEPT ![o] = last + 1]
  /\ Goes(o, "fetched")
  /\ UNCHANGED <<database, kafka, taken, seen, calm>>

(* Gather is one statement: what it reads is of one moment. Others may commit after it. *)
Gather(o) ==
  /\ pc[o] = "fetched"
  /\ seen' = [seen EXCEPT ![o] = Len(applied)]
  /\ Goes(o, IF Broken = "publish before commit" THEN "publishing first" ELSE "gathered")
  /\ UNCHANGED <<database, kafka, taken, end, calm>>

(* What the owner sends: its batch, and what is decided of it. *)
StepOf(o) ==
  [start |-> place[o], first |-> First(o), end |-> end[o], mark |-> mark[o], rows |-> Decided(o),
   records |-> IF known[o] = CatalogueOf(o) THEN <<>> ELSE <<<<place[o], CatalogueOf(o)>>>>]

Fits(step) ==
  CASE Broken = "no fence" -> TRUE
    [] Broken = "fence lets the late through" -> step.start <= row.next
    [] Broken = "fence lets the early through" -> row.next <= step.start
    [] Broken = "fence on the first record" -> row.next = step.first
    [] OTHER -> row.next = step.start

(* Apply is one statement. It begins with the fence, which waits for the row's lock and then looks at what is
   committed; from there on the server is on its way to the commit.                                              *)
Apply(o) ==
  /\ pc[o] = "gathered"
  /\ tx = NoTx
  /\ IF Fits(StepOf(o))
     THEN /\ tx' = [owner |-> o, step |-> StepOf(o)]
          /\ Goes(o, "committing")
          /\ UNCHANGED batch
     ELSE /\ Goes(o, "taking")
          /\ end' = [end EXCEPT ![o] = 0]
          /\ seen' = [seen EXCEPT ![o] = 0]
          /\ UNCHANGED tx
  /\ UNCHANGED <<row, applied, recorded, late, steps, kafka, taken, calm>>

(* What is committed is published beside the next batch. *)
Publish(o) ==
  /\ pc[o] = "committed"
  /\ place' = [place EXCEPT ![o] = end[o]]
  /\ known' = [known EXCEPT ![o] = CatalogueOf(o)]
  /\ flight' = [flight EXCEPT ![o] = @ \cup Notifications(Decided(o))]
  /\ end' = [end EXCEPT ![o] = 0]
  /\ seen' = [seen EXCEPT ![o] = 0]
  /\ Goes(o, "ready")
  /\ UNCHANGED <<database, topic, mark, behind, calm>>

PublishFirst(o) ==  \* only where it is broken
  /\ pc[o] = "publishing first"
  /\ flight' = [flight EXCEPT ![o] = @ \cup Notifications(Decided(o))]
  /\ Goes(o, "gathered")
  /\ UNCHANGED <<database, topic, taken, batch, calm>>

(* Everything of what the owner has handed over is acknowledged, or everything below some offset. *)
Acknowledged(o) ==
  /\ pc[o] \in {"publishing", "ready", "fetched", "gathered"}
  /\ \E to \in 1..LogEnd :
       /\ mark[o] < to /\ to <= place[o]
       /\ pc[o] = "publishing" => to = place[o]
       /\ (\A n \in flight[o] : to <= n[1]) \/ Broken = "watermark before the acknowledgement"
       /\ mark' = [mark EXCEPT ![o] = to]
  /\ behind' = [behind EXCEPT ![o] = TRUE]
  /\ Goes(o, IF pc[o] = "publishing" THEN "ready" ELSE pc[o])
  /\ UNCHANGED <<database, kafka, place, known, batch, calm>>

Note(o) ==
  /\ pc[o] = "ready"
  /\ behind[o]
  /\ Goes(o, "noting")
  /\ UNCHANGED <<database, kafka, taken, batch, calm>>

NotePublished(value) ==
  /\ tx = NoTx
  /\ row' = IF /\ row.published < value \/ Broken = "watermark may fall"
               /\ value <= row.next \/ Broken = "watermark may pass the place"
            THEN [row EXCEPT !.published = value]
            ELSE row

Noted(o) ==
  /\ pc[o] = "noting"
  /\ NotePublished(mark[o])
  /\ behind' = [behind EXCEPT ![o] = FALSE]
  /\ Goes(o, "ready")
  /\ UNCHANGED <<applied, recorded, tx, late, steps, kafka, place, mark, known, batch, calm>>

Step(o) ==
  \/ TakePlace(o) \/ KnowCatalogue(o) \/ Republish(o)
  \/ Fetch(o) \/ Gather(o) \/ Apply(o)
  \/ Publish(o) \/ PublishFirst(o) \/ Acknowledged(o) \/ Note(o) \/ Noted(o)

-------------------------------------------------------------------------------
(* The servers' steps. *)

(* The reply is part of the step: a reply that is lost is a connection that breaks before it. *)
Committed ==
  /\ tx # NoTx
  /\ LET step == tx.step
     IN /\ row' = [next |-> step.end,
                   published |-> IF Broken = "batch may lower the watermark"
                                 THEN step.mark ELSE Max(row.published, step.mark)]
        /\ applied' = applied \o step.rows
        /\ recorded' = recorded \o step.records
  /\ tx' = NoTx
  /\ IF tx.owner = Gone THEN UNCHANGED pc ELSE Goes(tx.owner, "committed")
  /\ UNCHANGED <<late, steps, kafka, taken, batch, calm>>

(* The server may lose the connection before the commit: then it ends the transaction. *)
RolledBack ==
  /\ tx # NoTx
  /\ tx.owner = Gone
  /\ tx' = NoTx
  /\ UNCHANGED <<row, applied, recorded, late, steps, kafka, taken, batch, pc, calm>>

(* A statement goes on though its client is gone: the server hears of that only when it answers. *)
AppliedLate ==
  /\ tx = NoTx
  /\ \E step \in steps :
       /\ tx' = IF Fits(step) THEN [owner |-> Gone, step |-> step] ELSE NoTx
       /\ steps' = steps \ {step}
  /\ UNCHANGED <<row, applied, recorded, late, kafka, taken, batch, pc, calm>>

NotedLate ==
  /\ \E value \in late :
       /\ NotePublished(value)
       /\ late' = late \ {value}
  /\ UNCHANGED <<applied, recorded, tx, steps, kafka, taken, batch, pc, calm>>

Arrives(o) ==
  /\ \E notification \in flight[o] :
       /\ topic' = topic \cup {notification}
       /\ flight' = [flight EXCEPT ![o] = @ \ {notification}]
  /\ UNCHANGED <<database, taken, batch, pc, calm>>

-------------------------------------------------------------------------------
(* A fault: an owner's connections break, wherever it stands, or the owner dies. Of what its producer has in
   flight, any part may still arrive; its transaction or its statement may go on in the server.               *)
Fails(o) ==
  /\ ~calm
  /\ pc[o] \notin {"away", "taking"}
  /\ tx' = IF tx.owner = o THEN [tx EXCEPT !.owner = Gone] ELSE tx
  /\ late' \in IF pc[o] = "noting" THEN {late, late \cup {mark[o]}} ELSE {late}
  \* One that does not fit now never will, and one at a time is enough to look at.
  /\ steps' \in IF pc[o] = "gathered" /\ steps = {} /\ Fits(StepOf(o)) THEN {steps, {StepOf(o)}} ELSE {steps}
  /\ \E arriving \in SUBSET flight[o] : flight' = [flight EXCEPT ![o] = arriving]
  /\ IF pc[o] = "committing" /\ Broken = "lost reply taken for a commit"
     THEN Goes(o, "committed") /\ UNCHANGED <<taken, batch>>
     ELSE /\ \E step \in {"taking", "away"} : Goes(o, step)
          /\ place' = [place EXCEPT ![o] = 0]
          /\ mark' = [mark EXCEPT ![o] = 0]
          /\ behind' = [behind EXCEPT ![o] = FALSE]
          /\ known' = [known EXCEPT ![o] = None]
          /\ end' = [end EXCEPT ![o] = 0]
          /\ seen' = [seen EXCEPT ![o] = 0]
  /\ UNCHANGED <<row, applied, recorded, topic, calm>>

(* There are finitely many faults, and nobody knows how many. *)
FaultsEnd ==
  /\ ~calm
  /\ calm' = TRUE
  /\ UNCHANGED <<database, kafka, taken, batch, pc>>

Next ==
  \/ \E o \in Owners : Assign(o) \/ Step(o) \/ Arrives(o) \/ Fails(o)
  \/ Committed \/ RolledBack \/ AppliedLate \/ NotedLate

(* For what must not happen: the faults need not end. *)
Spec == Init /\ [][Next]_vars

(* For what must happen: the faults end, who can take a step for ever takes it at last, and the group does not leave
   the partition with nobody for ever.                                                                             *)
FairSpec ==
  /\ Init /\ [][Next \/ FaultsEnd]_vars
  /\ \A o \in Owners : WF_vars(Step(o)) /\ WF_vars(Arrives(o))
  /\ WF_vars((\A o \in Owners : pc[o] = "away") /\ \E o \in Owners : Assign(o))
  /\ WF_vars(Committed \/ RolledBack) /\ WF_vars(AppliedLate) /\ WF_vars(NotedLate) /\ WF_vars(FaultsEnd)

-------------------------------------------------------------------------------
(* What must hold. *)

(* No record is applied twice, none is skipped, none overtakes another. *)
AppliedOnceInOrder == \A i \in DOMAIN applied : Before(applied[i][1]) = i - 1

(* Every record was decided on the state that exactly the records below it have left. *)
DecidedOnWhatIsCommitted == \A i \in DOMAIN applied : applied[i][2] = Before(applied[i][1])

(* A replay decides each record with the catalogue that it was decided with. *)
RecordedWhatDecided ==
  \A i \in DOMAIN applied :
    LET since == {j \in DOMAIN recorded : recorded[j][1] <= applied[i][1]}
    IN since # {} /\ recorded[CHOOSE j \in since : \A k \in since : k <= j][2] = applied[i][3]

(* The place is the end of what is applied. *)
PlaceIsWhatIsApplied == row.next = IF applied = <<>> THEN 0 ELSE applied[Len(applied)][1] + 1

(* Below the watermark everything is on the topic, and nothing below it is yet to come. *)
WatermarkIsSound == Outbox(0, row.published) \subseteq topic /\ row.published <= row.next

(* Nothing is on the topic but what is committed; so the duplicates of one are equal. *)
OnlyCommittedIsPublished == topic \subseteq Notifications(applied)

PlaceOnlyGrows == [][row.next <= row'.next]_vars
WatermarkOnlyGrows == [][row.published <= row'.published]_vars

(* In the end everything is applied, published, and below the watermark. *)
Drained ==
  <>[](/\ row = [next |-> LogEnd, published |-> LogEnd]
       /\ \A offset \in Records : Assigns(offset) => \E n \in topic : n[1] = offset)

-------------------------------------------------------------------------------
(* For the configurations. *)

OneRecord == <<"marker", "assigns">>
TwoRecords == <<"assigns", "marker", "assigns">>
ThreeRecords == <<"assigns", "plain", "marker", "assigns">>
FourRecords == <<"marker", "assigns", "assigns", "marker", "plain", "assigns", "marker">>
TwoPlainRecords == <<"plain", "plain">>
PlainRecords == <<"plain", "plain", "plain">>

OneCatalogue(o) == "the same"
OwnCatalogue(o) == o

Symmetric == Permutations(Owners)
=============================================================================
