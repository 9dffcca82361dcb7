// A message centre made with npm's smpp: takes everything, sends a receipt of what asks for one, and prints each text.
// Its first line is its port. With the argument `quiet` it prints nothing else.
const smpp = require("smpp");

const quiet = process.argv[2] === "quiet";
let count = 0;

const server = smpp.createServer({}, (session) => {
  session.on("error", () => session.close());
  session.on("bind_transceiver", (pdu) => {
    const status = pdu.password === "hunter2" ? smpp.ESME_ROK : smpp.ESME_RINVPASWD;
    session.send(pdu.response({ command_status: status }));
  });
  session.on("submit_sm", (pdu) => {
    const id = (++count).toString(16);
    session.send(pdu.response({ message_id: id }));
    if (!quiet) {
      const text = pdu.short_message.message ?? pdu.message_payload?.message;
      console.log(JSON.stringify({ to: pdu.destination_addr, from: pdu.source_addr, text, parts: pdu.short_message.udh?.length ?? 0 }));
    }
    if (pdu.registered_delivery) {
      session.deliver_sm({
        esm_class: 4,
        source_addr: pdu.destination_addr,
        destination_addr: pdu.source_addr,
        short_message: `id:${id} sub:001 dlvrd:001 submit date:2601010000 done date:2601010000 stat:DELIVRD err:000 text:`,
      });
    }
  });
  session.on("enquire_link", (pdu) => session.send(pdu.response()));
  session.on("unbind", (pdu) => {
    session.send(pdu.response());
    session.close();
  });
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0));
process.stdin.resume();
