// Grantline in an Azure subscription: one resource group with storage, identity, logs, key vault and the function app.
// `azd provision` and `az deployment sub create` both take this file; see README.md.
targetScope = 'subscription'

@minLength(1)
@maxLength(32)
@description('Name of the environment: tags everything, and makes the names of the resources unique.')
param environmentName string

@minLength(1)
@description('Azure region of everything.')
param location string

@allowed(['automatic', 'flex', 'premium'])
@description('Hosting plan. Automatic: Flex Consumption, and Elastic Premium in Azure Government, where Flex is unconfirmed.')
param hostingPlan string = 'automatic'

@allowed([512, 2048, 4096])
@description('Memory of one instance on Flex Consumption.')
param instanceMemoryMB int = 2048

@minValue(40)
@maxValue(1000)
@description('How many instances there may be at once on Flex Consumption, for each function that scales by itself.')
param maximumInstanceCount int = 40

@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
@description('Copies of the storage account: three zones unless the region has none. Its tables are the only record of the grants.')
param storageRedundancy string = 'Standard_ZRS'

@minValue(30)
@maxValue(730)
@description('How many days logs are kept.')
param logRetentionInDays int = 90

@secure()
@description('32 random bytes in base64url, given with the first deployment; empty: the key in the vault stays.')
param sealingKey string = ''

@secure()
@description('32 random bytes in base64url from which the verdict secrets are derived; the scanner holds them too. Empty: the key that is in the vault already stays.')
param verdictKey string = ''

@description('Client id of the registration that operators sign in to.')
param consoleClientId string

@description('Address of the console, without a path; empty: the function app\'s own.')
param publicUrl string = ''

@allowed(['global', 'gcc', 'gcc_high', 'dod', 'china'])
@description('The Microsoft cloud of the customers\' tenants.')
param cloud string = 'global'

@description('Client id of the mail-flow application.')
param mailFlowClientId string

@description('Client id of the directory application.')
param directoryClientId string

@description('Client id of the role helper.')
param roleHelperClientId string

@description('Client id of the activity application; empty: the permission to read activity data is never offered.')
param activityClientId string = ''

@description('Content types of the activity data that are subscribed to, separated by commas.')
param activityContentTypes string = 'Audit.Exchange,Audit.AzureActiveDirectory'

@description('Tenant of the operator, named to the activity API for a quota of its own; empty: everybody\'s small one.')
param publisherTenantId string = ''

@description('Client id of the role assigner; empty: that way to the role is never offered.')
param roleAssignerClientId string = ''

@allowed(['', 'true'])
@description('true where the directory application registers the optional permission to see when the role ends.')
param roleWatch string = ''

@minLength(1)
@maxLength(400)
@description('Justification of the role\'s assignment; {product} and {account} stand for their names.')
param roleJustification string = '{product} sets up and looks after the mail flow of {account}.'

@allowed(['none', 'Mail.ReadBasic.All', 'Mail.Read', 'Mail.ReadWrite'])
@description('The product\'s permission for all mailboxes.')
param mailboxPermission string = 'Mail.ReadBasic.All'

@minLength(1)
@maxLength(24)
@description('Name that the mail-flow objects begin with.')
param productName string = 'Grantline'

@description('Smart host of the scanner for inbound mail.')
param scannerInboundHost string

@description('Smart host of the scanner for outbound mail.')
param scannerOutboundHost string

@description('Ranges that inbound mail returns from: IPv4, /24 to /32, separated by commas.')
param scannerInboundEgress string

@description('Ranges that outbound mail returns from; none may overlap with the inbound ones.')
param scannerOutboundEgress string

@description('Zone of the scanner\'s certificates.')
param scannerCertificateZone string

@allowed(['on', 'off'])
@description('Whether test messages prove that mail is scanned.')
param mailProof string = 'on'

@allowed(['auto', 'operator'])
@description('Whether an operator must approve the plan before a tenant\'s mail flow is changed.')
param planApproval string = 'auto'

@description('More scanners, by region: JSON; empty braces for none.')
param scannerRegions string = '{}'

@description('Allow entries for mail that returns from the scanner: none, or ip, spoof or both, separated by commas.')
param allowEntries string = 'none'

@description('Domain that the scanner seals messages with (ARC); empty: no trusted sealer is added in tenants.')
param arcSealer string = ''

@allowed(['own_domains', 'all'])
@description('Whose outbound mail is scanned: that of own domains, or all; all needs an accepted domain for each grant.')
param outboundSenders string = 'own_domains'

@description('The one DNS resolver that MX records are asked of: IP address (Azure\'s own is 168.63.129.16); empty: none is asked.')
param dnsResolver string = ''

@description('Policies that a grant can enable, separated by commas; the first is preselected.')
param policies string = 'standard'

var isFlex = hostingPlan == 'flex' || (hostingPlan == 'automatic' && environment().name != 'AzureUSGovernment')
var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = {
  'azd-env-name': environmentName
}
var appTags = union(tags, {
  'azd-service-name': 'functions'
})
var appName = 'func-grantline-${token}'
var packageContainer = 'packages'

var operatorSettings = {
  GRANTLINE_CLOUD: cloud
  GRANTLINE_MAIL_FLOW_CLIENT_ID: mailFlowClientId
  GRANTLINE_DIRECTORY_CLIENT_ID: directoryClientId
  GRANTLINE_ROLE_HELPER_CLIENT_ID: roleHelperClientId
  GRANTLINE_ACTIVITY_CLIENT_ID: activityClientId
  GRANTLINE_ACTIVITY_CONTENT_TYPES: activityContentTypes
  GRANTLINE_PUBLISHER_TENANT_ID: publisherTenantId
  GRANTLINE_ROLE_ASSIGNER_CLIENT_ID: roleAssignerClientId
  GRANTLINE_ROLE_WATCH: roleWatch
  GRANTLINE_ROLE_JUSTIFICATION: roleJustification
  GRANTLINE_MAILBOX_PERMISSION: mailboxPermission
  GRANTLINE_PRODUCT_NAME: productName
  GRANTLINE_SCANNER_INBOUND_HOST: scannerInboundHost
  GRANTLINE_SCANNER_OUTBOUND_HOST: scannerOutboundHost
  GRANTLINE_SCANNER_INBOUND_EGRESS: scannerInboundEgress
  GRANTLINE_SCANNER_OUTBOUND_EGRESS: scannerOutboundEgress
  GRANTLINE_SCANNER_CERTIFICATE_ZONE: scannerCertificateZone
  GRANTLINE_MAIL_PROOF: mailProof
  GRANTLINE_PLAN_APPROVAL: planApproval
  GRANTLINE_SCANNER_REGIONS: scannerRegions
  GRANTLINE_ALLOW_ENTRIES: allowEntries
  GRANTLINE_ARC_SEALER: arcSealer
  GRANTLINE_OUTBOUND_SENDERS: outboundSenders
  GRANTLINE_DNS_RESOLVER: dnsResolver
  GRANTLINE_POLICIES: policies
}

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-grantline-${environmentName}'
  location: location
  tags: tags
}

module identity 'identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    name: 'id-grantline-${token}'
    location: location
    tags: tags
  }
}

module storage 'storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    name: 'stgrantline${token}'
    location: location
    tags: tags
    redundancy: storageRedundancy
    packageContainer: packageContainer
  }
}

module monitoring 'monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    workspaceName: 'log-grantline-${token}'
    insightsName: 'appi-grantline-${token}'
    location: location
    tags: tags
    retentionInDays: logRetentionInDays
  }
}

module vault 'vault.bicep' = {
  name: 'vault'
  scope: group
  params: {
    name: 'kv-gl-${token}'
    location: location
    tags: tags
    sealingKey: sealingKey
    verdictKey: verdictKey
  }
}

module roles 'roles.bicep' = {
  name: 'roles'
  scope: group
  params: {
    principalId: identity.outputs.principalId
    storageAccountName: storage.outputs.name
    insightsName: monitoring.outputs.insightsName
    vaultName: vault.outputs.name
    sealingKeyName: vault.outputs.sealingKeyName
    verdictKeyName: vault.outputs.verdictKeyName
  }
}

module flex 'flex.bicep' = if (isFlex) {
  name: 'flex'
  scope: group
  params: {
    planName: 'plan-grantline-${token}'
    appName: appName
    location: location
    tags: appTags
    identityId: identity.outputs.id
    packageContainerUrl: '${storage.outputs.blobEndpoint}${packageContainer}'
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
  }
  dependsOn: [
    roles
  ]
}

module premium 'premium.bicep' = if (!isFlex) {
  name: 'premium'
  scope: group
  params: {
    planName: 'plan-grantline-${token}'
    appName: appName
    location: location
    tags: appTags
    identityId: identity.outputs.id
    maximumInstanceCount: 20
  }
  dependsOn: [
    roles
  ]
}

var premiumSettings = {
  FUNCTIONS_EXTENSION_VERSION: '~4'
  FUNCTIONS_WORKER_RUNTIME: 'python'
  WEBSITE_RUN_FROM_PACKAGE: '${storage.outputs.blobEndpoint}${packageContainer}/grantline.zip'
  WEBSITE_RUN_FROM_PACKAGE_BLOB_MI_RESOURCE_ID: identity.outputs.id
}

module settings 'settings.bicep' = {
  name: 'settings'
  scope: group
  params: {
    appName: appName
    operatorSettings: operatorSettings
    publicUrl: publicUrl
    identityClientId: identity.outputs.clientId
    sealingKeyUri: vault.outputs.sealingKeyUri
    verdictKeyUri: vault.outputs.verdictKeyUri
    blobEndpoint: storage.outputs.blobEndpoint
    queueEndpoint: storage.outputs.queueEndpoint
    tableEndpoint: storage.outputs.tableEndpoint
    insightsConnectionString: monitoring.outputs.connectionString
    planSettings: isFlex ? {} : premiumSettings
  }
  dependsOn: [
    flex
    premium
  ]
}

module authentication 'authentication.bicep' = {
  name: 'authentication'
  scope: group
  params: {
    appName: appName
    consoleClientId: consoleClientId
  }
  dependsOn: [
    settings
  ]
}

output RESOURCE_GROUP string = group.name
output FUNCTION_APP string = appName
output HOSTING_PLAN string = isFlex ? 'flex' : 'premium'
output CONSOLE_URL string = settings.outputs.publicUrl
output STORAGE_ACCOUNT string = storage.outputs.name
// What the federated credentials of the registrations name: issuer and subject.
output FEDERATED_ISSUER string = '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
output FEDERATED_SUBJECT string = identity.outputs.principalId
