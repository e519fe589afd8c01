/* SPDX-License-Identifier: Apache-2.0 */
/* The control protocol: plain C, so that anyone can write a client.  Explained in docs/control-protocol.md. */
#ifndef PROXZZY_CONTROL_H
#define PROXZZY_CONTROL_H

#include <assert.h>
#include <linux/netlink.h>
#include <linux/types.h>

/* Integers are in the byte order of the machine, which therefore must be little-endian.  MAC and IP addresses are
 * binary, as on the wire. */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the control protocol is little-endian");

#define PZ_CONTROL_VERSION 1
#define PZ_CONTROL_PATH "/run/proxzzy/control.sock" /* AF_UNIX, SOCK_SEQPACKET; one message is one packet */
#define PZ_CONTROL_GROUP "proxzzy"                  /* its members may read hosts and change things, as root may */

#define PZ_CONTROL_MAX_MESSAGE 65536    /* bytes, nlmsghdr included; longer messages are refused */
#define PZ_CONTROL_MAX_PARTS 256        /* HOST_PUT messages of one record */
#define PZ_CONTROL_MAX_RECORD (1 << 20) /* bytes of attributes in all HOST_PUT messages of one record */

/* Follows the nlmsghdr in every message but NLMSG_ERROR and NLMSG_DONE; attributes follow it. */
struct pz_control_header {
	__u8 version;     /* PZ_CONTROL_VERSION */
	__u8 reserved[3]; /* zero */
};
static_assert(sizeof(struct pz_control_header) == 4, "layout");

/*
 * nlmsg_type.  "Set" names the attributes that a message carries; "answer" is what comes back besides the
 * acknowledgement (NLMSG_ERROR with error 0) that NLM_F_ACK asks for.
 */
enum pz_message {
	PZ_MSG_CAPABILITIES_GET = 0x10, /* no attributes; answer: CAPABILITIES */
	PZ_MSG_CAPABILITIES = 0x11,     /* set: pz_capabilities_attr */
	PZ_MSG_STATUS_GET = 0x12,       /* no attributes; answer: STATUS */
	PZ_MSG_STATUS = 0x13,           /* set: pz_status_attr */
	PZ_MSG_STATS_GET = 0x14,        /* with NLM_F_DUMP, no attributes; answer: COUNTER ..., NLMSG_DONE */
	PZ_MSG_COUNTER = 0x15,          /* set: pz_counter_attr */
	PZ_MSG_HOST_GET = 0x16,         /* set: PZ_A_HOST_NAME; answer: HOST */
					/* with NLM_F_DUMP: no attributes; answer: HOST ..., NLMSG_DONE */
	PZ_MSG_HOST = 0x17,             /* set: pz_host_status_attr */

	/*
	 * Changes.  HOST_SET and HOST_BEGIN need one of these flags:
	 *   NLM_F_CREATE | NLM_F_EXCL     a new host; EEXIST if there is one of that name
	 *   NLM_F_CREATE | NLM_F_REPLACE  a new host, or all of the configuration of an existing one
	 *   NLM_F_REPLACE                 all of the configuration of an existing one; ENOENT if there is none
	 */
	PZ_MSG_HOST_SET = 0x18,     /* set: pz_host_attr, the whole record */
	PZ_MSG_HOST_BEGIN = 0x19,   /* set: PZ_A_HOST_NAME; a record in parts, one at a time on a connection */
	PZ_MSG_HOST_PUT = 0x1a,     /* set: pz_host_attr but the name; any number of times */
	PZ_MSG_HOST_COMMIT = 0x1b,  /* no attributes; the record is applied as a whole or not at all */
	PZ_MSG_HOST_DELETE = 0x1c,  /* set: PZ_A_HOST_NAME */
	PZ_MSG_HOST_SLEEP = 0x1d,   /* set: PZ_A_HOST_NAME; the proxy takes over when it is silent */
	PZ_MSG_HOST_WAKE = 0x1e,    /* set: PZ_A_HOST_NAME; Magic Packets until it is back */
	PZ_MSG_HOST_RELEASE = 0x1f, /* set: PZ_A_HOST_NAME; the proxy lets go, the host is awake */
	PZ_MSG_DETACH = 0x20,       /* no attributes; off every interface, then the daemon stops */

	PZ_MSG_EVENTS_GET = 0x21,  /* with NLM_F_DUMP, set: pz_events_attr; answer: EVENT ..., NLMSG_DONE */
				   /* with FOLLOW, NLMSG_DONE comes when the daemon stops */
	PZ_MSG_EVENT = 0x22,       /* set: pz_event_attr */
	PZ_MSG_WAKES_GET = 0x23,   /* with NLM_F_DUMP, set: PZ_A_HOST_NAME; answer: WAKE ..., NLMSG_DONE */
	PZ_MSG_WAKE = 0x24,        /* set: pz_wake_log_attr */
	PZ_MSG_EXPLAIN = 0x25,     /* set: pz_explain_attr; answer: EXPLANATION; nothing changes */
	PZ_MSG_EXPLANATION = 0x26, /* set: pz_explanation_attr */

	/* Many hosts as one change, one at a time in the daemon; undone unless it is committed. */
	PZ_MSG_IMPORT_BEGIN = 0x27,  /* no attributes */
	PZ_MSG_IMPORT_PUT = 0x28,    /* set: pz_import_attr; any number of times */
	PZ_MSG_IMPORT_COMMIT = 0x29, /* no attributes; acknowledged when all of it is on disk */
};

/* Attribute sets.  Type, then how often: "1" always, "0-1" absent means the value in brackets, "n" repeated. */

enum pz_capabilities_attr {
	PZ_A_CAPABILITIES_UNSPEC,
	PZ_A_CAPABILITIES_VERSION,       /* string, 1: of the daemon */
	PZ_A_CAPABILITIES_OPTION,        /* string, n: "arp", "nd", "echo", "wake-tcp", ... */
	PZ_A_CAPABILITIES_MAX_HOSTS,     /* u32, 1 */
	PZ_A_CAPABILITIES_MAX_ADDRESSES, /* u32, 1: per host */
	PZ_A_CAPABILITIES_MAX_RULES,     /* u32, 1: per host */
	PZ_A_CAPABILITIES_MAX_MACS,      /* u32, 1: per host */
	PZ_A_CAPABILITIES_MAX_HOSTNAMES, /* u32, 0-1 [0]: per host */
	PZ_A_CAPABILITIES_MAX_SERVICES,  /* u32, 0-1 [0]: per host */
	PZ_A_CAPABILITIES_MAX_GROUPS,    /* u32, 0-1 [0]: per host */
};

enum pz_status_attr {
	PZ_A_STATUS_UNSPEC,
	PZ_A_STATUS_VERSION,      /* string, 1: of the daemon */
	PZ_A_STATUS_UPTIME_MS,    /* u64, 1 */
	PZ_A_STATUS_INTERFACE,    /* nested pz_interface_attr, n */
	PZ_A_STATUS_HOSTS,        /* u32, 1 */
	PZ_A_STATUS_HOSTS_ASLEEP, /* u32, 1: those that are not awake */
	PZ_A_STATUS_HELD_PACKETS, /* u32, 1: waiting for their hosts */
	PZ_A_STATUS_HELD_BYTES,   /* u32, 1 */
	PZ_A_STATUS_BPFFS,        /* string, 1: where programs and maps are pinned */
	PZ_A_STATUS_NO_WAKE_FROM, /* nested pz_network_attr, n: packets from here wake no host */
};

enum pz_interface_attr {
	PZ_A_INTERFACE_UNSPEC,
	PZ_A_INTERFACE_NAME,   /* string, 1 */
	PZ_A_INTERFACE_MODE,   /* string, 1: "native", "generic", or "bridge": each port has one */
	PZ_A_INTERFACE_MAC,    /* binary, 6 bytes, 1 */
	PZ_A_INTERFACE_UP,     /* u8, 1: 0 or 1; its link */
	PZ_A_INTERFACE_SERVED, /* u8, 1: 0 or 1; 0: there is no such interface now */
	PZ_A_INTERFACE_EGRESS, /* u8, 1: 0 or 1; what leaves by it is looked at too */
	PZ_A_INTERFACE_PORT,   /* nested pz_port_attr, n: of a bridge */
};

enum pz_port_attr {
	PZ_A_PORT_UNSPEC,
	PZ_A_PORT_NAME,   /* string, 1 */
	PZ_A_PORT_MODE,   /* string, 1: "native" or "generic" */
	PZ_A_PORT_UP,     /* u8, 1: 0 or 1; its link */
	PZ_A_PORT_SERVED, /* u8, 1: 0 or 1; 0: it cannot be served, and `mode` means nothing */
};

enum pz_counter_attr {
	PZ_A_COUNTER_UNSPEC,
	PZ_A_COUNTER_NAME,     /* string, 1 */
	PZ_A_COUNTER_SENTENCE, /* string, 1: what it counts */
	PZ_A_COUNTER_VALUE,    /* u64, 1 */
};

/* ECHO: what happens to an echo request */
enum pz_control_echo {
	PZ_CONTROL_ECHO_ANSWER = 0,
	PZ_CONTROL_ECHO_IGNORE = 1,
	PZ_CONTROL_ECHO_WAKE = 2,
};
/* IDENTITY: whose MAC goes into answers */
enum pz_control_identity {
	PZ_CONTROL_IDENTITY_HOST = 0,
	PZ_CONTROL_IDENTITY_PROXY = 1,
};
enum pz_control_state {
	PZ_CONTROL_STATE_AWAKE = 0,
	PZ_CONTROL_STATE_ARMING = 1, /* sleep was requested; its NIC is not silent yet */
	PZ_CONTROL_STATE_ASLEEP = 2,
	PZ_CONTROL_STATE_WAKING = 3,
	PZ_CONTROL_STATE_UNREACHABLE = 4, /* did not wake in time */
};

/* A host's configuration. */
enum pz_host_attr {
	PZ_A_HOST_UNSPEC,
	PZ_A_HOST_NAME, /* string, 1: up to 63 characters */
	PZ_A_HOST_MAC,  /* binary, 6 bytes, n: the first answers and is woken, the others are signs of life */
	PZ_A_HOST_IP,   /* nested pz_ip_attr, n */
	PZ_A_HOST_WAKE, /* nested pz_wake_attr, n: what wakes it besides a Magic Packet; none means TCP, any port */
	PZ_A_HOST_INTERFACE,  /* string, 0-1 [the only one served] */
	PZ_A_HOST_VLAN,       /* nested pz_vlan_attr, 0-1 [untagged] */
	PZ_A_HOST_ECHO,       /* u8 pz_control_echo, 0-1 [ANSWER] */
	PZ_A_HOST_IDENTITY,   /* u8 pz_control_identity, 0-1 [the daemon's] */
	PZ_A_HOST_MAGIC_PORT, /* u16, 0-1 [9]: UDP port that Magic Packets for it are sent to */
	PZ_A_HOST_SECUREON,   /* binary, 6 bytes, 0-1 [none]: Magic Packet password */
	PZ_A_HOST_AUTO, /* u8, 0-1 [0]: 1 for a host without an agent, which is probed to find out when it sleeps */
	PZ_A_HOST_ALLOW_FROM, /* nested pz_network_attr, n: only packets from here wake it; none means from anywhere */
	PZ_A_HOST_DENY_FROM,  /* nested pz_network_attr, n: packets from here do not; wins over ALLOW_FROM */
	PZ_A_HOST_WAKES_PER_HOUR,    /* u32, 0-1 [60]: by packets; 0 = no limit */
	PZ_A_HOST_WAKES_PER_SOURCE,  /* u32, 0-1 [30]: of those, by one source; 0 = no limit */
	PZ_A_HOST_MIN_WAKE_INTERVAL, /* u32, 0-1 [0]: seconds between two wakes by packets */
	PZ_A_HOST_QUIET,             /* nested pz_quiet_attr, n: times of the day in which packets do not wake it */
	PZ_A_HOST_LEARN, /* u8, 0-1 [0]: 1: the addresses that it uses while awake are answered for too; IP may be missing */
	PZ_A_HOST_HOSTNAME,     /* string, n: "desk.local", or one label, for LLMNR alone; UTF-8 */
	PZ_A_HOST_SERVICE,      /* nested pz_service_attr, n: needs a HOSTNAME in .local */
	PZ_A_HOST_SERVICE_WAKE, /* u8, 0-1 [1]: 1: ports of services wake it too, as if there were a WAKE for each */
	PZ_A_HOST_GROUP,        /* binary, 4 or 16 bytes, n: multicast addresses that it takes part in */
	PZ_A_HOST_PRIORITY,     /* u8, 0-1 [0]: IEEE 802.1p, up to 7, of what is sent for HOSTNAME, SERVICE and GROUP */
};

/* A service of a host (RFC 6763). */
enum pz_service_attr {
	PZ_A_SERVICE_UNSPEC,
	PZ_A_SERVICE_TYPE,     /* string, 1: "_ipp._tcp" */
	PZ_A_SERVICE_SUBTYPE,  /* string, n: "_universal" */
	PZ_A_SERVICE_PORT,     /* u16, 1 */
	PZ_A_SERVICE_INSTANCE, /* string, 0-1 [first label of the first HOSTNAME in .local]: UTF-8, up to 63 bytes */
	PZ_A_SERVICE_TXT,      /* binary, 1 to 255 bytes, n: "key=value" or "key" */
};

enum pz_network_attr {
	PZ_A_NETWORK_UNSPEC,
	PZ_A_NETWORK_ADDRESS, /* binary, 4 or 16 bytes, 1: no bit is set behind the prefix */
	PZ_A_NETWORK_LENGTH,  /* u8, 1: bits of the prefix */
};

/* Minutes since midnight, local time of the gateway; over midnight if TO is the smaller one. */
enum pz_quiet_attr {
	PZ_A_QUIET_UNSPEC,
	PZ_A_QUIET_FROM, /* u16, 1: included */
	PZ_A_QUIET_TO,   /* u16, 1: not included; another one than FROM */
};

enum pz_ip_attr {
	PZ_A_IP_UNSPEC,
	PZ_A_IP_ADDRESS,   /* binary, 4 or 16 bytes, 1 */
	PZ_A_IP_TEMPORARY, /* u8, 0-1 [0]: 1 for a temporary address (RFC 8981) */
	PZ_A_IP_VALID_FOR, /* u32, 0-1 [for ever]: seconds from when it is set */
};

enum pz_wake_attr {
	PZ_A_WAKE_UNSPEC,
	PZ_A_WAKE_PROTOCOL, /* u8, 1: IPPROTO_TCP or IPPROTO_UDP */
	PZ_A_WAKE_PORT,     /* u16, 0-1 [0, any port] */
};

enum pz_vlan_attr {
	PZ_A_VLAN_UNSPEC,
	PZ_A_VLAN_OUTER, /* u16, 0-1 [no tag] */
	PZ_A_VLAN_INNER, /* u16, 0-1 [at most one tag] */
};

/* A host's configuration and state. */
enum pz_host_status_attr {
	PZ_A_HOST_STATUS_UNSPEC,
	PZ_A_HOST_STATUS_CONFIG,               /* nested pz_host_attr, 1 */
	PZ_A_HOST_STATUS_ID,                   /* u32, 1: key in the kernel's policy and live maps */
	PZ_A_HOST_STATUS_GENERATION,           /* u32, 1: new each time that the host enters proxy care */
	PZ_A_HOST_STATUS_STATE,                /* u8 pz_control_state, 1 */
	PZ_A_HOST_STATUS_SINCE_REASON,         /* string, 1: why it is in this state */
	PZ_A_HOST_STATUS_SINCE_MS,             /* u64, 1: how long it is in this state */
	PZ_A_HOST_STATUS_IDENTITY,             /* u8 pz_control_identity, 1: in force */
	PZ_A_HOST_STATUS_WAKES,                /* u64, 1: how often it was woken */
	PZ_A_HOST_STATUS_HELD_PACKETS,         /* u32, 1: waiting for it */
	PZ_A_HOST_STATUS_LAST_WAKE_LATENCY_US, /* u64, 1: from trigger to first sign of life; 0 = never woken */
	PZ_A_HOST_STATUS_REFUSED,              /* u64, 1: triggers that its wake policy refused */
	PZ_A_HOST_STATUS_FILE,                 /* string, 0-1: path of the file that configures it */
	PZ_A_HOST_STATUS_LEARNED,              /* binary, 4 or 16 bytes, n: addresses that it was seen to use */
};

/* Which events are wanted. */
enum pz_events_attr {
	PZ_A_EVENTS_UNSPEC,
	PZ_A_EVENTS_HOST,     /* string, 0-1 [of all hosts, and of none]: only those of this host */
	PZ_A_EVENTS_FOLLOW,   /* u8, 0-1 [0]: 1 = first those that are kept, then all others as they come */
	PZ_A_EVENTS_NEW_ONLY, /* u8, 0-1 [0]: 1 = none that is kept already; only with FOLLOW */
};

/* Something that happened. */
enum pz_event_attr {
	PZ_A_EVENT_UNSPEC,
	PZ_A_EVENT_SEQUENCE,   /* u64, 1: from 1 upwards since the daemon's start */
	PZ_A_EVENT_TIME_NS,    /* u64, 1: nanoseconds since 1970, UTC */
	PZ_A_EVENT_KIND,       /* string, 1: "state", "trigger", ...: docs/messages.md */
	PZ_A_EVENT_LEVEL,      /* string, 1: "debug", "info", "warning" or "error" */
	PZ_A_EVENT_TEXT,       /* string, 0-1: what happened, in words */
	PZ_A_EVENT_HOST,       /* string, 0-1: name */
	PZ_A_EVENT_HOST_ID,    /* u32, 0-1: key in the kernel's policy and live maps */
	PZ_A_EVENT_GENERATION, /* u32, 0-1 */
	PZ_A_EVENT_INTERFACE,  /* string, 0-1 */
	PZ_A_EVENT_FROM,       /* u8 pz_control_state, 0-1: "state" only */
	PZ_A_EVENT_TO,         /* u8 pz_control_state, 0-1: "state" only */
	PZ_A_EVENT_REASON,     /* string, 0-1: the kernel's reason, as in COUNTER */
	PZ_A_EVENT_SENTENCE,   /* string, 0-1: that reason in words */
	PZ_A_EVENT_RULE,       /* string, 0-1: what matched, as "tcp/22", "tcp/any", "magic" */
	PZ_A_EVENT_DECIDED_BY, /* string, 0-1: "kernel", "daemon", "operator" or "host" */
	PZ_A_EVENT_PACKET,     /* string, 0-1: the packet in one line */
	PZ_A_EVENT_UID,        /* u32, 0-1: who asked */
	PZ_A_EVENT_PID,        /* u32, 0-1: who asked */
	PZ_A_EVENT_MISSED,     /* u64, 0-1: "lost" only: how many events of all kinds were missed */
};

/* A packet or request that woke a host, or a packet that did not.  Times "after" count from TIME_NS. */
enum pz_wake_log_attr {
	PZ_A_WAKE_LOG_UNSPEC,
	PZ_A_WAKE_LOG_TIME_NS,        /* u64, 1: nanoseconds since 1970, UTC; the kernel's time of the packet */
	PZ_A_WAKE_LOG_OUTCOME,        /* string, 1: "not-woken", or of a wake "waking", "awake", "unreachable", */
				      /* "address-not-back", "released", "sleep-requested" */
	PZ_A_WAKE_LOG_REASON,         /* string, 0-1: the kernel's reason, as in COUNTER */
	PZ_A_WAKE_LOG_SENTENCE,       /* string, 0-1: that reason in words */
	PZ_A_WAKE_LOG_RULE,           /* string, 0-1: what matched, as "tcp/22", "tcp/any", "magic" */
	PZ_A_WAKE_LOG_DECIDED_BY,     /* string, 1: "kernel", "daemon", "operator" or "host" */
	PZ_A_WAKE_LOG_PACKET,         /* string, 0-1: the packet in one line */
	PZ_A_WAKE_LOG_FRAME,          /* binary, 0-1: what was captured of the packet */
	PZ_A_WAKE_LOG_FRAME_LENGTH,   /* u32, 0-1 [0]: its length on the wire */
	PZ_A_WAKE_LOG_COUNT,          /* u32, 0-1 [1]: "not-woken": so many like this one, the last one at TIME_NS */
	PZ_A_WAKE_LOG_MAGIC_AFTER_US, /* u64, 0-1: the first Magic Packet was sent */
	PZ_A_WAKE_LOG_SIGN,           /* string, 0-1: the sign of life */
	PZ_A_WAKE_LOG_ALIVE_AFTER_US, /* u64, 0-1: when that was */
	PZ_A_WAKE_LOG_DELIVERED,      /* u32, 0-1 [0]: held packets delivered */
	PZ_A_WAKE_LOG_DELIVERED_AFTER_US, /* u64, 0-1: when the first one was */
	PZ_A_WAKE_LOG_DROPPED,            /* u32, 0-1 [0]: held packets dropped */
};

/* A frame, and where it would come in. */
enum pz_explain_attr {
	PZ_A_EXPLAIN_UNSPEC,
	PZ_A_EXPLAIN_INTERFACE, /* string, 0-1 [the only one served] */
	PZ_A_EXPLAIN_FRAME,     /* binary, 14 to 9216 bytes, 1: from the destination MAC on, without check sequence */
	PZ_A_EXPLAIN_EGRESS,    /* u8, 0-1 [0]: 1: the frame leaves by the interface instead of coming in */
};

enum pz_control_verdict {
	PZ_CONTROL_VERDICT_PASS = 0,   /* to the gateway's own network stack, bridge or routing */
	PZ_CONTROL_VERDICT_DROP = 1,   /* held by the daemon, if there is an event TRIGGER */
	PZ_CONTROL_VERDICT_ANSWER = 2, /* REPLY goes back out of the interface */
};

/* What would happen to the frame. */
enum pz_explanation_attr {
	PZ_A_EXPLANATION_UNSPEC,
	PZ_A_EXPLANATION_VERDICT,      /* u8 pz_control_verdict, 1 */
	PZ_A_EXPLANATION_REASON,       /* string, 1: as in COUNTER */
	PZ_A_EXPLANATION_SENTENCE,     /* string, 1 */
	PZ_A_EXPLANATION_INTERFACE,    /* string, 1 */
	PZ_A_EXPLANATION_VLAN,         /* nested pz_vlan_attr, 0-1 [untagged] */
	PZ_A_EXPLANATION_SEGMENT,      /* u32, 0-1 [0, not looked up or none] */
	PZ_A_EXPLANATION_HOST,         /* string, 0-1 [none]: who the frame is for, or whose address it claims */
	PZ_A_EXPLANATION_HOST_STATE,   /* u8 pz_control_state, 0-1 */
	PZ_A_EXPLANATION_SENDER,       /* string, 0-1 [none]: the host that sent it */
	PZ_A_EXPLANATION_SENDER_STATE, /* u8 pz_control_state, 0-1 */
	PZ_A_EXPLANATION_SIGN,         /* string, 0-1 [none]: which sign of the sender's life it is */
	PZ_A_EXPLANATION_RULE,         /* string, 0-1 [none]: of HOST, that decided: "tcp/22", "echo answer", "magic" */
	PZ_A_EXPLANATION_EVENT,        /* nested pz_explained_event_attr, n: that the daemon would get */
	PZ_A_EXPLANATION_REPLY,        /* binary, 0-1: the frame that answers */
};

enum pz_import_attr {
	PZ_A_IMPORT_UNSPEC,
	PZ_A_IMPORT_HOST, /* nested pz_host_attr, n: all of a host's configuration; a secureon that it has stays if
			     there is none here */
};

enum pz_explained_event_attr {
	PZ_A_EXPLAINED_EVENT_UNSPEC,
	PZ_A_EXPLAINED_EVENT_KIND,    /* string, 1: "trigger", "release", "proof", "conflict", "nic-answers" */
	PZ_A_EXPLAINED_EVENT_HOST,    /* string, 0-1 */
	PZ_A_EXPLAINED_EVENT_ADDRESS, /* binary, 4 or 16 bytes, 0-1: of the host, that is meant */
	PZ_A_EXPLAINED_EVENT_NEXT,    /* string, 1: what the daemon would do */
};

/*
 * NLMSG_ERROR: struct nlmsgerr with error = 0 or a negative errno, the request's nlmsghdr, and always NLM_F_CAPPED
 * (nothing else of the request) and NLM_F_ACK_TLVS: attributes of enum nlmsgerr_attrs follow.  Refusals carry
 * NLMSGERR_ATTR_MSG, and NLMSGERR_ATTR_OFFS where one attribute is to blame, or NLMSGERR_ATTR_MISS_TYPE and
 * NLMSGERR_ATTR_MISS_NEST where one is missing.  Acknowledgements of changes to hosts carry:
 */
#define PZ_ACK_A_DURABLE 0x100   /* u8: 1 if the change survives a restart of the daemon */
#define PZ_ACK_A_ADDED 0x101     /* u32, IMPORT_COMMIT: hosts that were not there */
#define PZ_ACK_A_CHANGED 0x102   /* u32, IMPORT_COMMIT */
#define PZ_ACK_A_UNCHANGED 0x103 /* u32, IMPORT_COMMIT: hosts that were there as they are to be */

#endif
