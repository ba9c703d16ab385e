"""Every condition, exception and action that a transport rule can have.

Grantline's rules hold a few of them; any other one that is set on a rule of ours is somebody's change. Source: parameters of
New-TransportRule and Set-TransportRule (github:MicrosoftDocs/office-docs-powershell, 2026-08); a contract test compares.
"""

_CONDITIONS = """
ADComparisonAttribute ADComparisonOperator AnyOfCcHeader AnyOfCcHeaderMemberOf AnyOfRecipientAddressContainsWords
AnyOfRecipientAddressMatchesPatterns AnyOfToCcHeader AnyOfToCcHeaderMemberOf AnyOfToHeader AnyOfToHeaderMemberOf
AttachmentContainsWords AttachmentExtensionMatchesWords AttachmentHasExecutableContent AttachmentIsPasswordProtected
AttachmentIsUnsupported AttachmentMatchesPatterns AttachmentNameMatchesPatterns AttachmentProcessingLimitExceeded
AttachmentPropertyContainsWords AttachmentSizeOver BetweenMemberOf1 BetweenMemberOf2 ContentCharacterSetContainsWords From
FromAddressContainsWords FromAddressMatchesPatterns FromMemberOf FromScope HasClassification HasNoClassification
HasSenderOverride HeaderContainsMessageHeader HeaderContainsWords HeaderMatchesMessageHeader HeaderMatchesPatterns
ManagerAddresses ManagerForEvaluatedUser MessageContainsDataClassifications MessageSizeOver MessageTypeMatches
RecipientADAttributeContainsWords RecipientADAttributeMatchesPatterns RecipientAddressContainsWords
RecipientAddressMatchesPatterns RecipientDomainIs RecipientInSenderList SCLOver SenderADAttributeContainsWords
SenderADAttributeMatchesPatterns SenderDomainIs SenderInRecipientList SenderIpRanges SenderManagementRelationship SentTo
SentToMemberOf SentToScope SubjectContainsWords SubjectMatchesPatterns SubjectOrBodyContainsWords SubjectOrBodyMatchesPatterns
WithImportance
"""
_ACTIONS = """
AddManagerAsRecipientType AddToRecipients ApplyClassification ApplyHtmlDisclaimerFallbackAction ApplyHtmlDisclaimerLocation
ApplyHtmlDisclaimerText ApplyOME ApplyRightsProtectionCustomizationTemplate ApplyRightsProtectionTemplate BlindCopyTo CopyTo
DeleteMessage Disconnect GenerateIncidentReport GenerateNotification IncidentReportContent IncidentReportOriginalMail
LogEventText ModerateMessageByManager ModerateMessageByUser NotifySender PrependSubject Quarantine RedirectMessageTo
RejectMessageEnhancedStatusCode RejectMessageReasonText RemoveHeader RemoveOME RemoveOMEv2 RemoveRMSAttachmentEncryption
RouteMessageOutboundConnector RouteMessageOutboundRequireTls SetHeaderName SetHeaderValue SetSCL
SmtpRejectMessageRejectStatusCode SmtpRejectMessageRejectText
"""
_TIMES = "ActivationDate ExpiryDate"

CONDITIONS = frozenset(_CONDITIONS.split())
"""Every condition."""
EXCEPTIONS = frozenset(f"ExceptIf{name}" for name in CONDITIONS)
"""Every exception: each condition has one."""
ACTIONS = frozenset(_ACTIONS.split())
"""Every action, and the values that belong to one."""
RULE_PROPERTIES = CONDITIONS | EXCEPTIONS | ACTIONS | frozenset(_TIMES.split())
"""All that decides which messages a rule acts on, what it does, and when."""
